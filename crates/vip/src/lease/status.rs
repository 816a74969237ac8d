//! What the lease thread reports. A copy, never the thread's own state.

use khactl_lease::Ballot;

/// How often things happened since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Times this host became the holder.
    pub acquired: u64,
    /// Times this host lost the lease at its deadline (not by hand-over).
    pub lost: u64,
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
    /// The acceptor was fed a confirmed epoch since boot (A8, M3).
    pub ready: bool,
    /// The ballot in use or last used by this host; round 0 before the first.
    pub ballot: Ballot,
    /// The earned deadline in nanoseconds of `CLOCK_BOOTTIME`; 0 unless holding.
    pub deadline_boottime_ns: u64,
    /// What happened so far.
    pub counters: Counters,
    /// The thread runs under SCHED_FIFO.
    pub realtime: bool,
    /// The process' memory is locked.
    pub locked: bool,
    /// Why the thread ended by itself, if it did: it cannot take part any more and the process should end.
    pub failure: Option<String>,
}
