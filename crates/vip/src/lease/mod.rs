//! The lease thread: carries out what the pure machine of `khactl_lease` decides, on a thread of its own.
//!
//! The thread receives datagrams, steps the machine and carries out its effects in the order given. It never decides
//! who holds the address, never waits for a disk, takes no lock that another thread holds for long, and allocates only
//! when it is fed a new configuration.
//!
//! ```text
//!   khad's feed ──► LeaseHandle ──bounded channel + wake-up──► thread ──► VipPort (gate, address, announcements)
//!                        ▲                                       │  ▲
//!                        └──────── status snapshot ──────────────┘  └──► UDP 9443, record on tmpfs
//! ```

mod authentication;
mod burst;
mod clock;
mod command;
mod contact_file;
mod distribution;
mod feed;
mod fencing;
mod handle;
mod judge;
mod observation;
mod parting;
mod record_file;
mod release;
mod status;
mod thread;
mod timer;
mod unclosed;

#[cfg(test)]
mod tests;

pub use feed::{Feed, Member};
pub use handle::{Announcer, Farewell, LeaseHandle, spawn};
pub use judge::Judge;
pub use observation::{PeerSummary, Summary};
pub use record_file::RecordFile;
pub use release::{DeadRelease, release_dead};
pub use status::{Counters, LeaseStatus};

use std::net::SocketAddr;
use std::path::PathBuf;

/// What the lease thread does to the host. Every call is made on the lease thread and has to be quick: it must not
/// wait for anything that another process can hold up for long.
pub trait VipPort: Send {
    /// Opens the gate until the absolute `CLOCK_BOOTTIME` in nanoseconds, or closes it when that is 0 (or past).
    ///
    /// An error on opening makes the machine give the lease up. After an error on closing it is tried again until the
    /// deadline that was given last; until then nothing is released and nobody else's request is answered.
    fn open(&mut self, until_boottime_ns: u64) -> std::io::Result<()>;
    /// Puts the address on the interface. Called after `open`.
    fn add_address(&mut self);
    /// Takes the address from the interface; done when it returns. Also called at the start, for a leftover.
    fn remove_address(&mut self);
    /// Sends one announcement per address. When is decided by the lease (0, 20, 100, 500 ms after a takeover, then every
    /// 10 s) and, after something happened on the link, by the thread.
    fn announce(&mut self);
}

/// Where the lease thread lives. Fixed for the life of the process.
#[derive(Debug, Clone)]
pub struct LeaseConfig {
    /// This host's id, the same that the feeds name.
    pub host_id: u64,
    /// The address to receive datagrams at: the host's own, as an IP literal, port 9443.
    pub bind: SocketAddr,
    /// The cluster's id. Datagrams and records of another cluster are refused.
    pub cluster: [u8; 16],
    /// The record's file, on tmpfs: it must not survive a reboot. A lock on it keeps two processes apart (P10). Beside it,
    /// with the extension `contact`, is what the fence keeps for the next process.
    pub record: PathBuf,
    /// The kernel's boot id (`/proc/sys/kernel/random/boot_id`). A record of another boot counts for nothing (A8).
    pub boot_id: [u8; 16],
}
