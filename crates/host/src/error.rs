//! Everything that can fail on a host, one variant per action that failed.
//!
//! The text says what was being done, what went wrong and what to try; the cause is in
//! `source()` and not repeated.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use khactl_model::component::ComponentName;

use crate::etcd::EtcdFailure;

/// An effect that could not be carried out, or a fact that could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The file system has no room; the file that was there is untouched.
    #[error(
        "writing {} failed because the disk is full; nothing was changed: free space on its file system",
        path.display()
    )]
    DiskFull {
        /// The file that was to be written.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file or folder could not be written.
    #[error("writing {} failed; check that it lies on a writable file system and that khad runs as root", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("reading {} failed; check that it exists and that khad runs as root", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file is larger than anything that belongs there.
    #[error("{} has {size} bytes where at most {limit} make sense; put the right file there", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// Something other than a folder is where a folder should be.
    #[error("{} is not a folder; move it away", path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// A system user could not be made.
    #[error(
        "creating the system user {name} failed: {output}; make it by hand: useradd --system --no-create-home --shell /usr/sbin/nologin --user-group {name}"
    )]
    CreateUser {
        /// The user.
        name: String,
        /// What `useradd` said, or why it could not run.
        output: String,
    },
    /// The bundle folder has no readable manifest.
    #[error("the bundle {} has no readable manifest.json; give the folder of a complete bundle", bundle.display())]
    ManifestMissing {
        /// The bundle's folder.
        bundle: PathBuf,
        /// Why it could not be read.
        #[source]
        source: Box<HostError>,
    },
    /// The manifest says something that cannot be.
    #[error("the manifest of the bundle {} is invalid: {reason}; make the bundle again", bundle.display())]
    ManifestInvalid {
        /// The bundle's folder.
        bundle: PathBuf,
        /// What is wrong, with the field.
        reason: String,
    },
    /// A program is not listed in the manifest.
    #[error("the bundle {} lists no program {program}; make the bundle again with it", bundle.display())]
    ProgramNotListed {
        /// The program.
        program: String,
        /// The bundle's folder.
        bundle: PathBuf,
    },
    /// A listed program's file is not there.
    #[error("the program {program} is missing from the bundle: no file {}; unpack or make the bundle again", path.display())]
    ProgramMissing {
        /// The program.
        program: String,
        /// Where its file should be.
        path: PathBuf,
    },
    /// A program's file is not the one of the manifest.
    #[error(
        "the program {program} was altered: {} has SHA-256 {found}, the manifest says {expected}; unpack or make the bundle again, and find out who changed it",
        path.display()
    )]
    ProgramAltered {
        /// The program.
        program: String,
        /// Its file.
        path: PathBuf,
        /// The manifest's digest.
        expected: String,
        /// The file's digest.
        found: String,
    },
    /// The bundle is for another processor.
    #[error("the bundle {} is for {bundle_arch}, this host is {host_arch}; give a bundle for {host_arch}", bundle.display())]
    WrongArchitecture {
        /// The bundle's folder.
        bundle: PathBuf,
        /// What it was made for, for example `arm64`.
        bundle_arch: String,
        /// What this host is.
        host_arch: String,
    },
    /// A program could not be started.
    #[error("starting {component} ({}) failed; check the program and its user", program.display())]
    Spawn {
        /// The component.
        component: String,
        /// The program.
        program: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Nothing is started on a host that goes down.
    #[error("{component} is not started: this host goes down; if it does not, restart khad")]
    GoingDown {
        /// The component.
        component: String,
    },
    /// A process could not be watched or signalled.
    #[error(
        "taking hold of {component}'s process {pid} failed; see whether it still runs and stop it by hand"
    )]
    Process {
        /// The component.
        component: String,
        /// Its process id.
        pid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// A process survived SIGKILL.
    #[error("{component}'s process {pid} still runs {} s after SIGKILL; it hangs in the kernel, look at its disk", waited.as_secs())]
    StillRunning {
        /// The component.
        component: String,
        /// Its process id.
        pid: u32,
        /// How long after SIGKILL.
        waited: Duration,
    },
    /// A name that cannot be a component's.
    #[error("{name:?} cannot be a component's name; use lower-case letters, digits and dashes")]
    ComponentName {
        /// The name.
        name: String,
    },
    /// A list of the kernel's could not be read.
    #[error(
        "reading {what} from the kernel failed; check that /proc is mounted and that khad runs as root"
    )]
    Kernel {
        /// What was being read.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Certificates or keys that do not fit together.
    #[error("the TLS material for {purpose} is unusable: {reason}; renew it")]
    Tls {
        /// What it was for.
        purpose: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A probe without verification that would leave the host.
    #[error(
        "refusing to probe {address} without verifying its certificate: that is for loopback alone"
    )]
    UnverifiedProbe {
        /// The address.
        address: SocketAddr,
    },
    /// The Lease of a component could not be read or cleared.
    #[error("{action} the Lease of {component} failed: {reason}; it runs out by itself")]
    LeaderLease {
        /// The call.
        action: &'static str,
        /// Whose Lease.
        component: ComponentName,
        /// What went wrong, or what the API server said.
        reason: String,
    },
    /// An etcd endpoint that is no `https://host:port`.
    #[error("{endpoint:?} is no etcd endpoint; use https://ADDRESS:PORT")]
    EtcdEndpoint {
        /// The endpoint.
        endpoint: String,
    },
    /// An etcd call failed.
    #[error("etcd: {action} at {endpoint} failed: {failure}")]
    Etcd {
        /// The call.
        action: &'static str,
        /// The endpoint that was asked last.
        endpoint: String,
        /// What kind of failure it is, and so whether to try again.
        failure: EtcdFailure,
        /// The answer or the transport's error.
        #[source]
        source: Box<tonic::Status>,
    },
}

impl HostError {
    /// Whether the same call may succeed later without anyone changing anything: a status to wait
    /// on, not an error to report.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Etcd { failure, .. } if failure.is_retryable())
    }

    /// A failed write; a full disk is named as such.
    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path, source }
            }
            _ => Self::Write { path, source },
        }
    }

    /// A failed read.
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Read { path, source }
    }
}
