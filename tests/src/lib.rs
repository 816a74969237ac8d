//! What the end-to-end tests stand on: a whole cluster on lab hosts, asked and judged from outside.
//!
//! Nothing here knows how the programs work inside: a test starts them, runs `khactl` and `kubectl`
//! as a person would, and looks at addresses, processes and files from the machine. Waiting is for a
//! condition with a deadline. A test that fails prints every host's status and logs before its lab goes.

pub mod acting;
mod agent;
mod api;
mod bundle;
mod certificates;
mod cluster;
mod diagnosis;
mod disk;
mod document;
pub mod failover;
mod foreign;
mod hosts;
mod kube;
mod lease;
mod machine;
mod network;
mod outcome;
mod packages;
mod page;
mod probe;
mod programs;
mod random;
mod running;
mod series;
mod spec;
mod trace;
mod view;
mod wait;
mod watch;
mod writer;

pub use api::{Answer, Api, Credentials, credentials};
pub use bundle::BundleCopy;
pub use certificates::check_pki;
pub use cluster::{Cluster, SPEC};
pub use disk::SmallDisk;
pub use document::put_into;
pub use foreign::{FOREIGN_CA, Foreign};
pub use hosts::{Hosts, bundle_versions, repository};
pub use machine::Machine;
pub use network::HostNetwork;
pub use outcome::{Outcome, Refusal};
pub use packages::Packages;
pub use page::{Block, quick_start};
pub use probe::Probe;
pub use programs::{bundle as built_bundle, programs_dir};
pub use random::Random;
pub use running::Running;
pub use series::Series;
pub use spec::SpecText;
pub use trace::Trace;
pub use view::COMPONENTS;
pub use wait::until;
pub use watch::{CHECKED, Silence, Watch};
pub use writer::Writer;

use std::time::Duration;

/// For whatever a healthy cluster does within seconds, on a machine that is busy with more than it has
/// cores. No test passes because of this length; one that fails takes it.
pub const SOON: Duration = Duration::from_secs(90);

/// For a whole `init` or `join`, or for hosts to come back with all their components.
pub const LONG: Duration = Duration::from_mins(4);

/// Whether the long form of a test is wanted (`make soak`).
pub fn soak() -> bool {
    std::env::var_os("KHACTL_SOAK").is_some_and(|value| !value.is_empty() && value != "0")
}
