//! What the lease thread and the keeper tell each other about the address: a few words in memory,
//! so that the lease thread never waits for a lock.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// Shared by the port (on the lease thread) and the keeper.
#[derive(Debug)]
pub struct Hold {
    wanted: AtomicBool,
    until_boottime_ns: AtomicU64,
    repair: AtomicBool,
    add_errno: AtomicI32,
    bell: OwnedFd,
}

impl Hold {
    /// Nothing held.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            wanted: AtomicBool::new(false),
            until_boottime_ns: AtomicU64::new(0),
            repair: AtomicBool::new(false),
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

    pub(crate) fn ask_repair(&self) {
        self.repair.store(true, Ordering::SeqCst);
    }

    pub(crate) fn take_repair(&self) -> bool {
        self.repair.swap(false, Ordering::SeqCst)
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
