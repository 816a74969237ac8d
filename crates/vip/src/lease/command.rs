//! What other threads want of the lease thread: at most one wish of each kind waits, and the latest counts. So the queue
//! is bounded by its shape, and nobody waits for room in it.

use std::sync::{Mutex, PoisonError, TryLockError};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;

use super::feed::Prepared;
use crate::fence::FencedProcess;

/// A hand-over that is wished for.
pub(super) struct HandOver {
    pub(super) successor: Option<u64>,
}

/// The wishes that wait.
#[derive(Default)]
pub(super) struct Wishes {
    pub(super) feed: Option<Box<Prepared>>,
    pub(super) fit: Option<bool>,
    pub(super) hand_over: Option<HandOver>,
    pub(super) announce: bool,
    pub(super) fenced: Option<Box<[FencedProcess]>>,
    pub(super) end: bool,
}

/// Where wishes wait, with the descriptor that wakes the lease thread.
pub(super) struct Commands {
    wishes: Mutex<Wishes>,
    bell: OwnedFd,
}

impl Commands {
    pub(super) fn new() -> std::io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self {
            wishes: Mutex::default(),
            bell,
        })
    }

    /// Adds a wish and wakes the thread.
    pub(super) fn wish(&self, change: impl FnOnce(&mut Wishes)) {
        change(&mut self.wishes.lock().unwrap_or_else(PoisonError::into_inner));
        // It fails only when the counter is full, and then the bell rings already.
        let _full = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    /// All wishes, without ever waiting: if another thread is adding one, the bell goes on ringing.
    pub(super) fn take(&self) -> Wishes {
        let mut wishes = match self.wishes.try_lock() {
            Ok(wishes) => wishes,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Wishes::default(),
        };
        let mut count = [0; 8];
        // It fails only when the bell does not ring.
        let _silent = rustix::io::read(&self.bell, &mut count);
        std::mem::take(&mut wishes)
    }

    pub(super) fn bell(&self) -> &OwnedFd {
        &self.bell
    }
}
