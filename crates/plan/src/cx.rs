//! What a host's plan is made from. It holds borrowed knowledge only: planning reads no clock,
//! no file and no network, and keeps nothing between two plans.

use khactl_model::component::ComponentName;
use khactl_model::facts::{Facts, ProbeFact, ProcessFact};
use khactl_model::spec::{KubernetesVersion, Mode, ValidSpec};
use khactl_model::state::{ClusterState, Host, Role};

/// Everything that a host's plan may depend on.
#[derive(Debug, Clone, Copy)]
pub struct Cx<'a> {
    /// The spec in force.
    pub spec: &'a ValidSpec,
    /// The cluster state as this host has applied it.
    pub state: &'a ClusterState,
    /// This host.
    pub host: &'a Host,
    /// What this host observes of itself.
    pub facts: &'a Facts,
    /// Where its files are.
    pub paths: &'a Paths,
    /// Milliseconds of CLOCK_BOOTTIME, the clock of [`Facts`].
    pub now_ms: u64,
    /// Seconds since the Unix epoch, for certificates.
    pub wall_s: i64,
    /// A random number that stays the same while this agent runs: it spreads the restarts of
    /// hosts that failed together.
    pub jitter: u64,
}

impl<'a> Cx<'a> {
    /// Whether khactl runs the control plane, and this host has a part in it beyond voting. A host that leaves has
    /// none any more once the lease goes on without it: what uses etcd ends before its member there does.
    pub fn serves_api(&self) -> bool {
        let gone = self.host.removal.is_some() && !self.state.lease.members.contains(&self.host.id);
        self.managed() && self.host.role == Role::ControlPlane && !gone
    }

    /// Whether khactl runs etcd and the control plane.
    pub fn managed(&self) -> bool {
        self.spec.control_plane.mode == Mode::Managed
    }

    /// The version of Kubernetes, which decides the arguments.
    pub fn kubernetes(&self) -> KubernetesVersion {
        // Validation gives every managed cluster a version; an external one renders nothing.
        self.spec
            .control_plane
            .kubernetes_version
            .unwrap_or(KubernetesVersion {
                major: 1,
                minor: 30,
                patch: 0,
            })
    }

    /// What is known of a component's process.
    pub fn process(&self, name: ComponentName) -> Option<&'a ProcessFact> {
        self.facts.processes.get(&name)
    }

    /// Whether a component's process lives.
    pub fn runs(&self, name: ComponentName) -> bool {
        self.process(name).is_some_and(|process| process.running)
    }

    /// A component's newest probe.
    pub fn probe(&self, name: ComponentName) -> Option<&'a ProbeFact> {
        self.facts.probes.get(&name)
    }
}

/// The folders of an agent, absolute and without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// What survives a reboot.
    pub data: String,
    /// What does not.
    pub run: String,
    /// The components' logs.
    pub log: String,
    /// The operator's files.
    pub etc: String,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            data: "/var/lib/khactl".to_owned(),
            run: "/run/khactl".to_owned(),
            log: "/var/log/khactl".to_owned(),
            etc: "/etc/khactl".to_owned(),
        }
    }
}

impl Paths {
    /// Where a component's certificates and keys are; `khad` for the agent's own.
    pub fn pki(&self, component: &str) -> String {
        format!("{}/pki/{component}", self.data)
    }

    /// etcd's data folder.
    pub fn etcd_data(&self) -> String {
        format!("{}/etcd", self.data)
    }

    /// The kubeconfig with which a component reaches the API through this host's balancer.
    pub fn kubeconfig(&self, component: ComponentName) -> String {
        format!("{}/kubeconfig", self.pki(component.as_str()))
    }

    /// Where khavip is fed.
    pub fn vip_socket(&self) -> String {
        format!("{}/khavip.sock", self.run)
    }
}
