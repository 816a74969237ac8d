//! What can go wrong in a lab: one variant per action, with its host, program or path.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::layout::HOSTS_MAX;

/// The result of a lab's operations.
pub type Result<T> = std::result::Result<T, LabError>;

/// A failed action of the lab. The cause, where there is one, is in `source()`.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LabError {
    /// The name does not fit into namespace names.
    #[error("{name:?} is no name for a lab: use one to twelve of a-z and 0-9, a letter first")]
    Name {
        /// The name given.
        name: String,
    },
    /// The network has no room, or there is nothing to start.
    #[error("a lab of {hosts} hosts is not possible: ask for 1 to {HOSTS_MAX}")]
    HostCount {
        /// The number given.
        hosts: usize,
    },
    /// Namespaces need root.
    #[error("a lab needs root (namespaces, mounts, nftables): run it with sudo")]
    NotRoot,
    /// No state of this lab.
    #[error("no lab named {name} is up: start one with `khactl lab up`")]
    NotUp {
        /// The lab's name.
        name: String,
    },
    /// Another process uses a lab of this name.
    #[error(
        "the lab {name} belongs to the running process {pid}: choose another name, or end that process"
    )]
    InUse {
        /// The lab's name.
        name: String,
        /// Its owner.
        pid: u32,
    },
    /// The name is none of the lab's hosts.
    #[error("the lab has no host {host}; it has {known}")]
    UnknownHost {
        /// The name given.
        host: String,
        /// The names there are.
        known: String,
    },
    /// The action needs a running host.
    #[error("{host} is off: start it first with `khactl lab start {host}`")]
    HostOff {
        /// The host.
        host: String,
    },
    /// The host did not come up.
    #[error("{host} did not boot: {output}")]
    Boot {
        /// The host.
        host: String,
        /// What the boot printed.
        output: String,
    },
    /// The agent ended, or never listened on its socket.
    #[error("khad on {host} did not listen within {within_ms} ms; the end of its log:\n{log}")]
    AgentStart {
        /// The host.
        host: String,
        /// The time it had, in milliseconds.
        within_ms: u128,
        /// The last lines of its log.
        log: String,
    },
    /// A condition did not come true in time.
    #[error("waited {within_ms} ms in vain until {what}")]
    Deadline {
        /// The condition.
        what: String,
        /// The time it had, in milliseconds.
        within_ms: u128,
    },
    /// A program cannot be started.
    #[error(
        "cannot run {program}: is its package installed? (scripts/setup installs what a lab needs)"
    )]
    Spawn {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program refused.
    #[error("{command}: {output}")]
    Tool {
        /// The command line.
        command: String,
        /// What it said.
        output: String,
    },
    /// A file or folder of the lab.
    #[error("cannot {action} {path}", path = path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A thread of the oracle did not start.
    #[error("cannot start the thread {thread} of the oracle")]
    OracleStart {
        /// The thread.
        thread: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The oracle has not seen everything: what it says would be worth nothing.
    #[error("the oracle is blind: {failure}; start it again on a machine that is less busy")]
    Oracle {
        /// Why.
        failure: String,
    },
    /// The state file of a lab is not what this version writes.
    #[error("cannot read {path}: take the lab down and up again", path = path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl LabError {
    /// For `map_err` after a file operation.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
