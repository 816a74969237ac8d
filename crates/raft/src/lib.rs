//! Consensus of the agents: openraft on RocksDB, over channels that the caller makes.
//!
//! [`Raft`] replicates opaque commands into a [`Machine`]. Nobody else sees openraft or
//! RocksDB: no type of theirs is in the public interface. This crate knows nothing of what
//! the commands mean, makes no connection of its own and reads no certificate.
//!
//! What is kept on disk, all in one RocksDB under [`Config::data_dir`]: who owns the store,
//! the vote, the log, the committed and the purged position, and the last snapshot. The
//! machine itself lives in memory and is rebuilt at start from snapshot and log.

mod codec;
mod config;
mod convert;
mod error;
mod headroom;
mod log_store;
mod machine;
mod membership;
mod network;
mod peer;
mod raft;
mod service;
mod silence;
mod state_machine;
mod status;
mod store;
mod types;
mod writer;

pub use config::Config;
pub use error::Error;
pub use machine::Machine;
pub use peer::{Dial, Peer};
pub use raft::Raft;
pub use service::Service;
pub use status::Status;

#[cfg(test)]
mod storage_suite;
