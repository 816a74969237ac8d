//! The declared cluster: the fields of `cluster.yaml` and their defaults. What may be written in them is in
//! `reading` (one field) and `validation` (fields against each other).

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Serialize, Serializer};

use super::{AddressPrefix, BalancerLimits, LeaderElection, Probes};
use crate::component::ComponentName;

/// The only `apiVersion` there is.
pub const API_VERSION: &str = "khactl.io/v1alpha1";
/// The only `kind` there is.
pub const KIND: &str = "Cluster";
/// The port of the API server and of the balancer unless the spec says otherwise.
pub const API_PORT: u16 = 6443;

/// A cluster as its operator declared it, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSpec {
    /// `metadata.name`: a DNS label.
    pub name: String,
    /// The floating address.
    pub vip: VipSpec,
    /// What stands in front of the API servers.
    pub balancer: BalancerSpec,
    /// The agents' consensus.
    pub raft: RaftSpec,
    /// What runs on the hosts.
    pub control_plane: ControlPlaneSpec,
    /// The cluster's own networks.
    pub network: NetworkSpec,
}

/// `spec.vip`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VipSpec {
    /// One per family at the most, one at the least.
    pub addresses: Vec<AddressPrefix>,
    /// Where the address is put.
    pub interface: Interface,
    /// Lease times by name; none if `lease_ms` says them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Lease time in milliseconds; none if `profile` says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u32>,
    /// Host names, first preferred.
    pub preference: Vec<String>,
    /// Does a preferred host take the VIP back?
    pub failback: bool,
}

impl VipSpec {
    /// The lease time in milliseconds.
    pub fn lease_ms(&self) -> u32 {
        self.lease_ms
            .unwrap_or_else(|| self.profile.unwrap_or_default().lease_ms())
    }
}

/// `spec.vip.interface`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Interface {
    /// The interface whose network holds the VIP.
    #[default]
    Auto,
    /// The interface of this name.
    Named(String),
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Named(name) => name,
        })
    }
}

impl Serialize for Interface {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `spec.vip.profile`: how quickly the lease changes hands, against how much delay it bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// One switch, idle hosts.
    Fast,
    /// One site.
    #[default]
    Lan,
    /// Several sites.
    Wan,
}

impl Profile {
    /// The name in the spec.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Lan => "lan",
            Self::Wan => "wan",
        }
    }

    /// The lease time in milliseconds (docs/lease.md, T).
    pub const fn lease_ms(self) -> u32 {
        match self {
            Self::Fast => 60,
            Self::Lan => 250,
            Self::Wan => 2000,
        }
    }
}

/// `spec.balancer`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BalancerSpec {
    /// On the VIP and on loopback.
    pub port: u16,
    /// How a backend is picked.
    pub method: BalanceMethod,
    /// How a backend is probed.
    pub health: HealthSpec,
    /// Host name to weight, 1 to 100; absent hosts weigh 1.
    pub weights: BTreeMap<String, u8>,
    /// Whether backends are told who their clients are (PROXY protocol, version 2).
    pub proxy_protocol: bool,
    /// What clients may take of it.
    pub limits: BalancerLimits,
}

/// `spec.balancer.method`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BalanceMethod {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// Each in turn, as often as its weight says.
    WeightedRoundRobin,
    /// The one with the fewest open connections.
    LeastConnections,
    /// The same one for the same client address.
    SourceHash,
}

impl BalanceMethod {
    /// The name in the spec.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::WeightedRoundRobin => "weighted-round-robin",
            Self::LeastConnections => "least-connections",
            Self::SourceHash => "source-hash",
        }
    }
}

/// `spec.balancer.health`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthSpec {
    /// How the probe speaks.
    pub scheme: HealthScheme,
    /// The path that answers 200 while the backend is ready; begins with a slash.
    pub path: String,
    /// The authority of the backends' certificates: an absolute path on every host. Empty: the cluster's own in
    /// managed mode; in external mode certificates are not judged.
    pub ca_file: String,
    /// Milliseconds between two probes of one backend.
    pub period_ms: u32,
    /// Milliseconds after which a probe has failed.
    pub timeout_ms: u32,
    /// Good probes in a row that make a backend healthy.
    pub rise: u8,
    /// Bad probes in a row that make it unhealthy.
    pub fall: u8,
}

/// `spec.balancer.health.scheme`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthScheme {
    /// TLS.
    #[default]
    Https,
    /// Plain text.
    Http,
}

impl HealthScheme {
    /// The name in the spec.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }
}

/// `spec.raft`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RaftSpec {
    /// Milliseconds between two heartbeats of the leader.
    pub heartbeat_ms: u32,
    /// Milliseconds of silence after which a follower campaigns: between the first and the second.
    pub election_timeout_ms: [u32; 2],
}

/// `spec.controlPlane`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneSpec {
    /// Who runs the control plane.
    pub mode: Mode,
    /// What the external control plane is; none in managed mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalSpec>,
    /// The version in the bundle; some in managed mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<KubernetesVersion>,
    /// The absolute path of the bundle, the same on every host; some in managed mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
    /// `kube-apiserver`
    pub api_server: ApiServerSpec,
    /// `kube-controller-manager`
    #[serde(skip_serializing_if = "ComponentSpec::is_default")]
    pub controller_manager: ComponentSpec,
    /// `kube-scheduler`
    #[serde(skip_serializing_if = "ComponentSpec::is_default")]
    pub scheduler: ComponentSpec,
    /// `etcd`
    #[serde(skip_serializing_if = "ComponentSpec::is_default")]
    pub etcd: ComponentSpec,
}

impl ControlPlaneSpec {
    /// How a component is asked.
    pub fn probes(&self, component: ComponentName) -> Probes {
        let own = match component {
            ComponentName::Khavip => None,
            ComponentName::Etcd => self.etcd.probes.clone(),
            ComponentName::KubeApiserver => self.api_server.probes.clone(),
            ComponentName::KubeControllerManager => self.controller_manager.probes.clone(),
            ComponentName::KubeScheduler => self.scheduler.probes.clone(),
        };
        own.unwrap_or_else(|| Probes::of(component))
    }

    /// How those of a component find their leader, where it has one.
    pub fn leader_election(&self, component: ComponentName) -> LeaderElection {
        let own = match component {
            ComponentName::KubeControllerManager => self.controller_manager.leader_election,
            ComponentName::KubeScheduler => self.scheduler.leader_election,
            _ => None,
        };
        own.unwrap_or_default()
    }
}

/// `spec.controlPlane.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// khactl runs etcd and the control plane.
    #[default]
    Managed,
    /// Something else does; khactl gives it the VIP and the balancer.
    External,
}

/// `spec.controlPlane.external`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalSpec {
    /// The API servers; empty for every control-plane host's own address and API port.
    pub backends: Vec<SocketAddr>,
}

/// `spec.controlPlane.apiServer`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiServerSpec {
    /// On the host's address.
    pub port: u16,
    /// Names and addresses that its certificate shall carry besides the usual ones.
    pub extra_sans: Vec<String>,
    /// Arguments without their dashes, over those that khactl renders.
    pub extra_args: BTreeMap<String, String>,
    /// How it is asked; none: [`Probes::of`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<Probes>,
}

/// The settings of a component that has no others.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentSpec {
    /// Arguments without their dashes, over those that khactl renders.
    pub extra_args: BTreeMap<String, String>,
    /// How it is asked; none: [`Probes::of`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<Probes>,
    /// How those of all hosts find their leader, where they have one; none: the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader_election: Option<LeaderElection>,
}

impl ComponentSpec {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `spec.network`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkSpec {
    /// The pods' network.
    pub pod_cidr: AddressPrefix,
    /// The services' network.
    pub service_cidr: AddressPrefix,
    /// The DNS domain of the services.
    pub cluster_domain: String,
}

impl NetworkSpec {
    /// The address of the `kubernetes` service: the first of the services' network.
    pub fn first_service_address(&self) -> IpAddr {
        // A services' network of one address is refused; even then its own address would do no harm here.
        self.service_cidr
            .nth(1)
            .unwrap_or_else(|| self.service_cidr.network())
    }
}

/// A released version of Kubernetes, as `v1.20.2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KubernetesVersion {
    /// 1
    pub major: u16,
    /// The release line.
    pub minor: u16,
    /// The patch release.
    pub patch: u16,
}

impl KubernetesVersion {
    /// Reads `vMAJOR.MINOR.PATCH`; none for anything else, pre-releases included.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix('v')?.split('.').map(|part| {
            let plain = part.bytes().all(|byte| byte.is_ascii_digit())
                && (part == "0" || !part.starts_with('0'));
            plain.then(|| part.parse::<u16>().ok()).flatten()
        });
        let version = Self {
            major: parts.next()??,
            minor: parts.next()??,
            patch: parts.next()??,
        };
        parts.next().is_none().then_some(version)
    }
}

impl fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Serialize for KubernetesVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Default for BalancerSpec {
    fn default() -> Self {
        Self {
            port: API_PORT,
            method: BalanceMethod::default(),
            health: HealthSpec::default(),
            weights: BTreeMap::new(),
            proxy_protocol: false,
            limits: BalancerLimits::default(),
        }
    }
}

impl Default for HealthSpec {
    fn default() -> Self {
        Self {
            scheme: HealthScheme::default(),
            path: "/readyz".to_owned(),
            ca_file: String::new(),
            period_ms: 500,
            timeout_ms: 500,
            rise: 2,
            fall: 2,
        }
    }
}

impl Default for RaftSpec {
    fn default() -> Self {
        Self {
            heartbeat_ms: 100,
            election_timeout_ms: [500, 1000],
        }
    }
}

impl Default for ApiServerSpec {
    fn default() -> Self {
        Self {
            port: API_PORT,
            extra_sans: Vec::new(),
            extra_args: BTreeMap::new(),
            probes: None,
        }
    }
}
