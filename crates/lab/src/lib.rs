//! Lab hosts: a switch and N hosts in namespaces on one machine, for `khactl lab`, the tests
//! and the benchmarks.
//!
//! A lab host has its own network, mounts, host name and processes, its own `/etc`, and its own
//! `/etc/khactl`, `/var/lib/khactl`, `/run/khactl` (a tmpfs) and `/var/log/khactl` at the fixed paths, so
//! that the real programs run in it unchanged. Killing it is a power cut: the port goes down first,
//! every process dies, the tmpfs and the addresses are gone, the disk stays.
//!
//! ```text
//!            kh-<lab>-sw: bridge br0, nftables table `part` with the cuts
//!              |            |            |             |
//!         kh-<lab>-cp1   …-cp2        …-cp3        …-client
//!         10.77.0.11      .12          .13          .200
//! ```
//!
//! What it never does: touch the machine's own network, `/etc` or khactl's folders. It leaves
//! three empty mount points there (`/var/lib/khactl`, `/var/log/khactl`, `/run/khactl`) and
//! `/opt/khactl`, which a package would make too.
//!
//! Everything is synchronous and needs root. A [`Lab`] takes itself down when it is dropped unless
//! it was kept; what a killed test left behind is swept by the next [`Lab::up`].

mod cgroup;
mod deadline;
mod error;
mod first_process;
mod folders;
mod host;
mod lab;
mod layout;
pub mod measure;
mod name;
pub mod oracle;
mod processes;
mod programs;
mod state;
mod switch;
mod tool;

pub use error::{LabError, Result};
pub use host::{LabHost, Power};
pub use lab::{Lab, LabOptions};
pub use layout::{CLIENT, HOSTS_MAX, HostLayout, VIP};
pub use name::LabName;
pub use processes::Process;
pub use programs::{BUNDLES_DIR, PROGRAMS_DIR};
pub use rustix::process::Signal;
pub use state::{HostStatus, LabStatus};
pub use switch::Cut;
