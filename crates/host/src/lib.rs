//! Carries effects out on one host: files, users, verified programs, supervised processes, logs,
//! probes, etcd calls; and reads the facts that planning needs.
//!
//! It takes no decisions: what to run, when to start it again and what a failed probe means is
//! said by `khactl_plan`. It never holds a component's life in its own: whatever it starts goes on
//! when the agent ends, and is found again.

pub mod bundle;
pub mod error;
pub mod etcd;
pub mod files;
pub mod leader_lease;
pub mod logs;
pub mod network;
mod offload;
pub mod ports;
pub mod preflight;
pub mod probe;
pub mod process;
mod procfs;
pub mod tls;
pub mod users;

pub use error::HostError;
pub use khactl_bundle::digest;
