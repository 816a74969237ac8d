//! What the lease thread and the keeper tell each other about the address: a few words in memory,
//! so that the lease thread never waits for a lock.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use rustix::event::{EventfdFlags, eventfd};

use crate::address::announcement::Mac;

/// One per family.
const ADDRESSES_MAX: usize = 2;

/// Shared by the port (on the lease thread) and the keeper.
#[derive(Debug)]
pub struct Hold {
    wanted: AtomicBool,
    until_boottime_ns: AtomicU64,
    /// Each address's hardware address, in the order of the targets; a bond's changes.
    macs: [AtomicU64; ADDRESSES_MAX],
    add_errno: AtomicI32,
    bell: OwnedFd,
}

impl Hold {
    /// Nothing held.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            wanted: AtomicBool::new(false),
            until_boottime_ns: AtomicU64::new(0),
            macs: Default::default(),
            add_errno: AtomicI32::new(0),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// The lease thread put the address on this host and did not take it off since.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// The error of the last attempt to add the address.
    pub fn add_error(&self) -> Option<io::Error> {
        match self.add_errno.load(Ordering::Relaxed) {
            0 => None,
            errno => Some(io::Error::from_raw_os_error(errno)),
        }
    }

    pub(crate) fn set_wanted(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::SeqCst);
    }

    pub(crate) fn set_add_result(&self, result: &io::Result<()>) {
        let errno = match result {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().unwrap_or(libc_eio()),
        };
        self.add_errno.store(errno, Ordering::Relaxed);
    }

    pub(crate) fn set_until(&self, boottime_ns: u64) {
        self.until_boottime_ns.store(boottime_ns, Ordering::SeqCst);
    }

    pub(crate) fn until(&self) -> u64 {
        self.until_boottime_ns.load(Ordering::SeqCst)
    }

    pub(crate) fn set_mac(&self, place: usize, mac: Mac) {
        if let Some(known) = self.macs.get(place) {
            let mut bytes = [0; 8];
            bytes[..6].copy_from_slice(&mac);
            known.store(u64::from_ne_bytes(bytes), Ordering::SeqCst);
        }
    }

    pub(crate) fn mac(&self, place: usize) -> Mac {
        let known = self.macs.get(place);
        let known = known.map_or(0, |mac| mac.load(Ordering::SeqCst));
        let bytes = known.to_ne_bytes();
        std::array::from_fn(|place| bytes[place])
    }

    /// Wakes the keeper. Never waits: at worst it is awake already.
    pub(crate) fn ring(&self) {
        let _awake = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    pub(crate) fn silence(&self) {
        let mut count = [0; 8];
        let _nothing = rustix::io::read(&self.bell, &mut count);
    }

    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

fn libc_eio() -> i32 {
    rustix::io::Errno::IO.raw_os_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hardware_address_is_read_as_it_was_set() {
        let hold = Hold::new().expect("a descriptor");
        hold.set_mac(1, [2, 1, 2, 3, 4, 255]);
        assert_eq!(hold.mac(1), [2, 1, 2, 3, 4, 255]);
        assert_eq!(hold.mac(0), [0; 6]);
        hold.set_mac(9, [1; 6]);
        assert_eq!(hold.mac(9), [0; 6]);
    }
}
