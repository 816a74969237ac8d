//! The declared cluster: `cluster.yaml` as a type that only validation can make.
//!
//! ```text
//! text ──tree──▶ nodes with places ──reading──▶ ClusterSpec ──validation──▶ ValidSpec
//!                        └──────── problems, all of them, with line and column ────────▶ SpecProblems
//! ```
//!
//! Never touches a file, a clock or the network; what only a host can know is `check_on_host`.

mod address_prefix;
mod cluster;
mod fields;
mod host_check;
mod leader_election;
mod limits;
mod position;
mod probe_reading;
mod probes;
mod problem;
mod reading;
mod scalars;
mod tree;
mod valid;
mod validation;

#[cfg(test)]
mod tests;

pub use address_prefix::{AddressPrefix, NotAnAddressPrefix};
pub use cluster::{
    API_PORT, API_VERSION, ApiServerSpec, BalanceMethod, BalancerSpec, ClusterSpec, ComponentSpec,
    ControlPlaneSpec, ExternalSpec, HealthScheme, HealthSpec, Interface, KIND, KubernetesVersion,
    Mode, NetworkSpec, Profile, RaftSpec, VipSpec,
};
pub use host_check::{HostFactsForSpec, InterfaceFacts, check_on_host, vip_interface};
pub use leader_election::{LeaderElection, duration_text};
pub use limits::BalancerLimits;
pub use position::Position;
pub use probes::{Exec, HttpGet, ProbeAction, ProbeSpec, Probes, TcpSocket};
pub use problem::{Code, Problem, SpecProblems};
pub use valid::ValidSpec;
