//! One component's place among the supervised processes: what is on record, what runs, what is being done about it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use khactl_sys::pidfd::PidFd;

use super::record::Record;

/// One component's place.
#[derive(Default)]
pub(super) struct Slot {
    /// Held through a start, a stop or an adoption, so that they come one after the other.
    pub(super) turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) record: Option<Record>,
    /// Held while it runs.
    pub(super) live: Option<Arc<PidFd>>,
    /// The process that is known to serve, and has its full share for that.
    pub(super) serving: Option<u32>,
    /// Why it is being ended, while it is.
    pub(super) stop: Option<Stop>,
    /// Since when the next one is being started, while it is: it may run before the record tells of it.
    pub(super) starting_ms: Option<u64>,
}

/// Why a process is ended.
#[derive(Debug, Clone)]
pub(super) enum Stop {
    /// It is wanted so: no end that counts.
    Asked,
    /// It does not answer, for this reason: counted as if it had ended by itself.
    Hung(String),
}

impl Slot {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
