//! What the lease thread reports. A copy, never the thread's own state.

use std::sync::{Mutex, OnceLock, PoisonError};

use khactl_lease::{Ballot, View};

use super::clock::boottime_ns;
use super::observation::Summary;
use crate::fence::FenceView;

/// How often things happened since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Times this host became the holder.
    pub acquired: u64,
    /// Times this host ceased to be the holder, by its deadline or by hand-over.
    pub ended: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams received and believed.
    pub received: u64,
    /// Datagrams that were no lease datagrams of this cluster, or whose HMAC was wrong.
    pub refused: u64,
    /// Datagrams seen before.
    pub replayed: u64,
    /// Datagrams that the kernel would not send.
    pub unsent: u64,
}

impl Counters {
    pub(super) fn count_change(&mut self, held: bool, holds: bool) {
        self.acquired += u64::from(!held && holds);
        self.ended += u64::from(held && !holds);
    }
}

/// The lease as this host sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaseStatus {
    /// Who holds, as far as this host's own acceptor knows; none while it knows of no unexpired lease.
    pub holder: Option<u64>,
    /// This host holds the lease and its gate is open.
    pub holding: bool,
    /// The epoch in use; 0 before the first feed.
    pub epoch: u64,
    /// The fenced epoch. Only this may be reported to the leader (A9, M2).
    pub fence: u64,
    /// The acceptor is past the silence after its start (A8).
    pub past_silence: bool,
    /// What is left of that silence, in nanoseconds.
    pub silence_left_ns: u64,
    /// The acceptor was fed a confirmed epoch since boot (A8, M3).
    pub ready: bool,
    /// The ballot in use or last used by this host; round 0 before the first.
    pub ballot: Ballot,
    /// The earned deadline in nanoseconds of `CLOCK_BOOTTIME`; 0 unless holding.
    pub deadline_boottime_ns: u64,
    /// What happened so far.
    pub counters: Counters,
    /// How late the thread wakes and how long its peers take, of late.
    pub summary: Summary,
    /// What it would do to processes of this host, and has done.
    pub fencing: FenceView,
    /// `CLOCK_BOOTTIME` of this status in nanoseconds.
    pub read_boottime_ns: u64,
    /// When the thread last told what it knows, in the same: silence in `summary` is known up to then. What has arrived
    /// since has not been looked at.
    pub told_boottime_ns: u64,
    /// The thread runs under SCHED_FIFO.
    pub realtime: bool,
    /// The process' memory is locked.
    pub locked: bool,
    /// What the host denies the thread, and by what; empty if nothing.
    pub denied: Vec<String>,
    /// Why the last feed was refused, if it was.
    pub refused_feed: Option<String>,
    /// Why the thread ended by itself, if it did: it cannot take part any more and the process should end.
    pub failure: Option<String>,
}

/// What the thread hands out after a step.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Snapshot {
    /// When it was made.
    pub(super) told: u64,
    pub(super) view: View,
    pub(super) counters: Counters,
    pub(super) summary: Summary,
    pub(super) fencing: FenceView,
    pub(super) realtime: bool,
    pub(super) locked: bool,
}

/// Where the thread leaves its snapshot. It never waits: if somebody reads just now, the next step leaves a newer one.
#[derive(Default)]
pub(super) struct Board {
    snapshot: Mutex<Snapshot>,
    denied: Mutex<Vec<String>>,
    refused_feed: Mutex<Option<String>>,
    failure: OnceLock<String>,
}

impl Board {
    /// False if somebody reads just now.
    pub(super) fn publish(&self, snapshot: &Snapshot) -> bool {
        match self.snapshot.try_lock() {
            Ok(mut place) => *place = *snapshot,
            Err(_) => return false,
        }
        true
    }

    /// Said by the thread before it begins.
    pub(super) fn deny(&self, reason: String) {
        let mut denied = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
        denied.push(reason);
    }

    /// The thread's last word.
    pub(super) fn fail(&self, reason: String) {
        self.failure.get_or_init(|| reason);
    }

    /// Called by who feeds, not by the lease thread.
    pub(super) fn refuse_feed(&self, reason: Option<String>) {
        *self
            .refused_feed
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = reason;
    }

    pub(super) fn read(&self) -> LeaseStatus {
        let Snapshot {
            told,
            view,
            counters,
            summary,
            fencing,
            realtime,
            locked,
        } = *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        // A lease that ran out since the snapshot is no lease.
        let now = boottime_ns();
        let failure = self.failure.get().cloned();
        let holding = view.holding && now < view.deadline && failure.is_none();
        LeaseStatus {
            holder: view.holder.filter(|_| now < view.holder_until),
            holding,
            epoch: view.epoch,
            fence: view.fence,
            past_silence: now >= view.silent_until,
            silence_left_ns: view.silent_until.saturating_sub(now),
            ready: view.ready,
            ballot: view.ballot,
            deadline_boottime_ns: if holding { view.deadline } else { 0 },
            counters,
            summary,
            fencing,
            read_boottime_ns: now,
            told_boottime_ns: told,
            realtime,
            locked,
            denied: self
                .denied
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            refused_feed: self
                .refused_feed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
            failure,
        }
    }
}
