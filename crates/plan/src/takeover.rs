//! When the Lease of a controller-manager or scheduler that is certainly dead is cleared, so that another leads before
//! the Lease has run out. Clearing is what the dead one would have done itself at an orderly end.
//!
//! Two ways to be certain: this host's own process was waited for ([`judge_own`]), or a lost host's khavip has killed it
//! by now ([`judge_lost`], docs/fence.md). Whatever is not certain is left to run out. Nothing here compares wall clocks,
//! and nothing is forced: whoever clears does so by the resource version that was judged.

mod lost;
mod own;
mod sightings;

use khactl_model::component::ComponentName;
use khactl_model::spec::ValidSpec;
use khactl_model::state::{ClusterState, Host, Role};
use std::collections::BTreeMap;
use std::fmt;

pub use lost::{Armed, LostCx, SILENCE_MS, Voice, judge_lost};
pub use own::{OwnEnd, judge_own};
pub use sightings::Sightings;

/// What to do with a Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Clear it, if it still has this resource version.
    Clear {
        /// The one that was judged.
        resource_version: String,
    },
    /// Not yet: look again.
    Wait(Refusal),
    /// It is not to be touched.
    Leave(Refusal),
}

/// Why a Lease is not cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Nothing to clear.
    Free,
    /// The API server elects.
    Coordinated,
    /// Another Lease is used than the one that is looked at, or none, or another way to it: this argument is in the
    /// component's `extraArgs`.
    OtherLease(&'static str),
    /// Somebody else leads.
    HeldByAnother {
        /// Its identity.
        holder: String,
    },
    /// The identity of a process on this machine cannot be told from another's.
    NameUnproven {
        /// What the machine is called.
        machine: String,
        /// What the host is called in the cluster.
        host: String,
    },
    /// The one that was started since might hold it.
    MayLive {
        /// Its identity.
        holder: String,
    },
    /// The machines of these two hosts have one name.
    SameName(String, String),
    /// What this host's machine is called is not known: it might be the same name.
    MachineUnknown(String),
    /// This host takes no part in the VIP's lease, so that nothing is known of its fence.
    NoMember(String),
    /// This host's fence was not armed when it was last heard, or nobody knows.
    NotArmed(String),
    /// Too few tell that they have not heard the host.
    NotSilent {
        /// The host.
        host: String,
        /// How many tell so.
        silent: usize,
        /// How many would do.
        needed: usize,
    },
    /// It was written to while this host was silent, or was not looked at for long enough.
    MayBeRenewed(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free => f.write_str("nobody holds it"),
            Self::Coordinated => {
                f.write_str("the API server elects the leader (coordinated leader election)")
            }
            Self::OtherLease(argument) => {
                write!(f, "{argument} is set in the component's extraArgs")
            }
            Self::HeldByAnother { holder } => write!(f, "{holder} holds it"),
            Self::NameUnproven { machine, host } => write!(
                f,
                "the machine of {host} is called {machine}: its name does not tell whose an identity is"
            ),
            Self::MayLive { holder } => write!(
                f,
                "{holder} was first seen after the next process was started, and may be its own"
            ),
            Self::SameName(one, other) => {
                write!(f, "the machines of {one} and {other} have the same name")
            }
            Self::MachineUnknown(host) => write!(
                f,
                "{host} has not told yet what its machine is called, which might be the same"
            ),
            Self::NoMember(host) => write!(f, "{host} takes no part in the VIP's lease"),
            Self::NotArmed(host) => write!(
                f,
                "the fence of {host} is not known to have been armed for it when {host} was last heard"
            ),
            Self::NotSilent {
                host,
                silent,
                needed,
            } => write!(
                f,
                "{silent} members have not heard {host} for long enough, and {needed} are needed"
            ),
            Self::MayBeRenewed(host) => write!(
                f,
                "it has not been seen unchanged for long enough since {host} is silent"
            ),
        }
    }
}

/// Why the spec forbids to touch a component's Lease, if it does.
fn forbidden(spec: &ValidSpec, component: ComponentName) -> Option<Refusal> {
    /// With any of these the component elects elsewhere, otherwise, or not at all; or it reaches an API server past khavip,
    /// also while khavip is dead.
    const OTHER: [&str; 7] = [
        "config",
        "kubeconfig",
        "leader-elect",
        "leader-elect-resource-lock",
        "leader-elect-resource-name",
        "leader-elect-resource-namespace",
        "master",
    ];
    let plane = &spec.control_plane;
    let coordinated = |args: &BTreeMap<String, String>| {
        args.get("feature-gates").is_some_and(|gates| {
            gates
                .split(',')
                .any(|gate| gate.trim() == "CoordinatedLeaderElection=true")
        })
    };
    let own = match component {
        ComponentName::KubeControllerManager => &plane.controller_manager.extra_args,
        _ => &plane.scheduler.extra_args,
    };
    if coordinated(&plane.api_server.extra_args) || coordinated(own) {
        return Some(Refusal::Coordinated);
    }
    OTHER
        .into_iter()
        .find(|name| own.contains_key(*name))
        .map(Refusal::OtherLease)
}

/// Why an identity that begins with the name of this host's machine may be another host's, if it may: hosts' names are unique
/// in the cluster, machines' own are not.
fn unproven(
    host: &Host,
    machine: &str,
    state: &ClusterState,
    told: &BTreeMap<u64, Armed>,
) -> Option<Refusal> {
    if machine != host.name {
        return Some(Refusal::NameUnproven {
            machine: machine.to_owned(),
            host: host.name.clone(),
        });
    }
    // Witnesses run nothing that elects.
    let mut others = state
        .hosts
        .values()
        .filter(|other| other.id != host.id && other.role == Role::ControlPlane);
    others.find_map(|other| {
        let name = told.get(&other.id).map_or("", |told| told.machine.as_str());
        if name.is_empty() {
            return Some(Refusal::MachineUnknown(other.name.clone()));
        }
        (name == machine).then(|| Refusal::SameName(host.name.clone(), other.name.clone()))
    })
}

#[cfg(test)]
mod tests {
    use khactl_model::leader_lease::LeaderLease;
    use khactl_model::spec::{ClusterSpec, ValidSpec};
    use khactl_model::state::{EtcdMember, EtcdStage, Host, Role};

    pub(super) fn spec(control_plane: &str) -> ValidSpec {
        let text = format!(
            "apiVersion: khactl.io/v1alpha1\nkind: Cluster\nmetadata: {{name: prod}}\nspec:\n  \
             vip: {{addresses: [10.77.0.100/24]}}\n  controlPlane:\n    kubernetesVersion: v1.20.2\n    \
             bundle: /opt/b\n    {control_plane}\n"
        );
        ClusterSpec::parse(&text).unwrap_or_else(|problems| panic!("{problems}"))
    }

    pub(super) fn lease(version: &str, holder: &str) -> LeaderLease {
        LeaderLease {
            resource_version: version.to_owned(),
            holder: holder.to_owned(),
            renewed: version.to_owned(),
            coordinated: false,
        }
    }

    pub(super) fn host(id: u64) -> Host {
        Host {
            id,
            name: format!("cp{id}"),
            address: format!("10.77.0.1{id}").parse().unwrap(),
            role: Role::ControlPlane,
            key_pin: String::new(),
            etcd: EtcdMember {
                stage: EtcdStage::Voter,
                member_id: id,
                initial_cluster: String::new(),
                started: true,
            },
            admitted_at_ms: 0,
            removal: None,
        }
    }
}
