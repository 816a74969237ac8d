//! The gate: the kernel itself lets the VIP's packets pass only until a deadline (rules G1 to G3),
//! so that a process that is stopped or killed cannot answer for an address that another host has.
//!
//! ```text
//!  stand ──▶ closed ──open(t)──▶ open until t ──t, or open(0)──▶ closed ──▶ …   outlives the process
//! ```
//!
//! It is best made of BPF programs at the interface ([`program`]), which compare each packet's time
//! with an absolute deadline in shared memory: opening, renewing and closing are one store. An
//! interface holds its programs and they hold the deadline, so there is nothing to pin: a later
//! process finds both by way of the interface, closes, and puts its own programs in their place.
//! Where BPF is not to be had, an nftables set with a timeout does it; where that is not to be had
//! either, khavip goes on without, and says why. Who may open it when is the lease's to decide.

mod ahead;
mod assembler;
mod bpf;
mod channel;
mod filter;
mod frame;
mod message;
mod nft;
pub mod program;
mod ruleset;
mod set;
mod watch;

use std::io;

use khactl_sys::bpf::Word;

use crate::error::VipError;
use crate::gate::channel::Channel;
use crate::gate::set::OpenSet;

pub use watch::{GateKind, GateStatus, GateWatch};

/// The lease thread's hand on the gate.
#[derive(Debug)]
pub struct Gate {
    locks: Vec<Lock>,
    /// Of a predecessor's gates: they are only ever closed.
    foreign: bool,
}

#[derive(Debug)]
enum Lock {
    Word(Word),
    Set(Box<OpenSet>),
}

impl Gate {
    /// Closes whatever gates a process before this one left on this host (P10, K2), and gives back
    /// what closes them again. An error means that one of them may be open until its deadline.
    pub fn leftover() -> Result<Self, VipError> {
        let failed = |cause| VipError::GateLeft {
            doing: "closed",
            cause,
        };
        let mut channel = Channel::route().map_err(failed)?;
        let words = bpf::standing_words(&mut channel).map_err(failed)?;
        let mut locks: Vec<Lock> = words.into_iter().map(Lock::Word).collect();
        // A kernel without nftables has no such gate.
        if let Ok(mut set) = OpenSet::new()
            && set.is_standing().map_err(failed)?
        {
            locks.push(Lock::Set(Box::new(set)));
        }
        let mut gate = Self {
            locks,
            foreign: true,
        };
        gate.open(0).map_err(failed)?;
        Ok(gate)
    }

    /// Opens until the absolute `CLOCK_BOOTTIME` in nanoseconds, or closes where that is 0 or past.
    /// Closed is closed when this returns. Does not allocate; one store, or one message to nftables.
    pub fn open(&mut self, until_boottime_ns: u64) -> io::Result<()> {
        if self.foreign && until_boottime_ns != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        for lock in &mut self.locks {
            match lock {
                Lock::Word(word) => word.store(until_boottime_ns),
                Lock::Set(set) if until_boottime_ns == 0 => set.close()?,
                Lock::Set(set) => {
                    let now = khactl_sys::clock::boottime().as_nanos();
                    set.set(until_boottime_ns, u64::try_from(now).unwrap_or(u64::MAX))?;
                }
            }
        }
        Ok(())
    }
}

/// Takes every gate of khactl's away, for a host that leaves for good. The VIP must be gone before.
pub fn remove() -> Result<(), VipError> {
    let failed = |cause| VipError::GateLeft {
        doing: "removed",
        cause,
    };
    let mut channel = Channel::route().map_err(failed)?;
    let standing = filter::standing(&mut channel).map_err(failed)?;
    for interface in standing.iter().map(|standing| standing.interface) {
        filter::detach(&mut channel, interface).map_err(failed)?;
    }
    ahead::detach(|_| true).map_err(failed)?;
    match OpenSet::new() {
        Ok(mut set) => set.remove().map_err(failed),
        Err(_) => Ok(()),
    }
}
