//! What other threads want of the lease thread: at most one wish of each kind waits, and the latest counts. So the queue
//! is bounded by its shape, and nobody waits for room in it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;

use super::feed::Prepared;
use super::parting::Leaving;
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

impl Wishes {
    /// The hand-over among them, by wish or because the thread is to end.
    pub(super) fn leaving(&self) -> Option<Leaving> {
        let successor = self.hand_over.as_ref().map(|wish| wish.successor);
        (self.end || successor.is_some()).then(|| Leaving {
            successor: successor.flatten(),
            end: self.end,
        })
    }
}

/// Where wishes wait, with the descriptor that wakes the lease thread.
pub(super) struct Commands {
    wishes: Mutex<Wishes>,
    bell: OwnedFd,
    /// How many times somebody began to let clients go, and the latest of these that is over.
    farewells_begun: AtomicU64,
    farewells_over: AtomicU64,
}

impl Commands {
    pub(super) fn new() -> std::io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self {
            wishes: Mutex::default(),
            bell,
            farewells_begun: AtomicU64::new(0),
            farewells_over: AtomicU64::new(0),
        })
    }

    /// Adds a wish and wakes the thread.
    pub(super) fn wish(&self, change: impl FnOnce(&mut Wishes)) {
        change(&mut self.wishes.lock().unwrap_or_else(PoisonError::into_inner));
        self.ring();
    }

    fn ring(&self) {
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

    /// Somebody begins to let this host's clients go. Gives the number to end it by.
    pub(super) fn begin_farewell(&self) -> u64 {
        self.farewells_begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// They are gone, or nobody lets them go any more. Takes no lock: whoever calls may be a thread that gets no processor
    /// in the midst of it.
    pub(super) fn end_farewell(&self, number: u64) {
        self.farewells_over.fetch_max(number, Ordering::SeqCst);
        self.ring();
    }

    /// Somebody lets clients go at present.
    pub(super) fn in_farewell(&self) -> bool {
        let over = self.farewells_over.load(Ordering::SeqCst);
        over < self.farewells_begun.load(Ordering::SeqCst)
    }

    pub(super) fn bell(&self) -> &OwnedFd {
        &self.bell
    }
}
