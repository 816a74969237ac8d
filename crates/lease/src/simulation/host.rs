//! One simulated host: its clock, its kernel (gate, address, tmpfs) and at most one process.

use std::collections::VecDeque;

use super::tmpfs::Tmpfs;
use crate::{Configuration, Datagram, Effect, Input, Lease, Replay, Timing};

/// The machine; what is in here survives the process, and a reboot makes a new one.
pub(super) struct Host {
    pub(super) id: u64,
    /// A witness accepts only.
    pub(super) witness: bool,
    /// Error of the clock in parts per million, at most 10,000 either way.
    rate_error_ppm: i64,
    /// A pair of the real and the local time, from which the clock runs on.
    since: (u64, u64),
    boots: u64,
    pub(super) tmpfs: Tmpfs,
    /// The gate's absolute deadline on this host's clock: the kernel's view.
    pub(super) gate_until: u64,
    pub(super) address: bool,
    /// Suspended: not even the kernel acts.
    pub(super) asleep: bool,
    /// CLOCK_BOOTTIME less CLOCK_MONOTONIC.
    pub(super) slept: u64,
    pub(super) process: Option<Process>,
    /// Rises with every start and death, so that events of an earlier process are known as such.
    pub(super) generation: u64,
    /// The real time at which the process' timer rings.
    pub(super) timer: u64,
    pub(super) fit: bool,
    pub(super) khad: Khad,
}

/// What the control side knows. It survives the lease's process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Khad {
    pub(super) up: bool,
    /// Cut off from Raft.
    pub(super) lags: bool,
    /// A member of Raft; one that is removed cannot read linearizably any more.
    pub(super) enrolled: bool,
    /// Made a linearizable read since it started.
    pub(super) confirmed: bool,
    /// The epoch it knows; 0 if none.
    pub(super) epoch: usize,
    pub(super) timing: Timing,
}

/// A datagram as it arrived, and from where.
pub(super) type Arrival = (Datagram, usize);

/// The running `khavip`.
pub(super) struct Process {
    pub(super) lease: Lease,
    pub(super) replay: Replay,
    pub(super) counter: u64,
    pub(super) stalled: bool,
    /// Until when a gate that did not close may be open.
    pub(super) unclosed_until: u64,
    /// The clock was read for this step, which is yet to be made.
    pub(super) read: Option<(u64, Input, Option<usize>)>,
    /// Effects that a stall left undone: it goes on with these first.
    pub(super) undone: VecDeque<(Effect, Option<usize>)>,
    pub(super) socket: VecDeque<Arrival>,
    pub(super) jumped: bool,
    pub(super) fed: Option<(Configuration, Timing, bool)>,
    pub(super) fit: Option<bool>,
    /// The successor's id, 0 for nobody in particular.
    pub(super) hand_over: Option<u64>,
    /// What `khad` sees: fence, and whether it would answer.
    pub(super) published: (u64, bool),
}

impl Host {
    pub(super) fn new(id: u64, rate_error_ppm: i64, boot_ns: u64, khad: Khad) -> Self {
        Self {
            id,
            witness: false,
            rate_error_ppm,
            since: (0, boot_ns),
            boots: 1,
            tmpfs: Tmpfs::new(id, 1),
            gate_until: 0,
            address: false,
            asleep: false,
            slept: 0,
            process: None,
            generation: 0,
            timer: u64::MAX,
            fit: true,
            khad,
        }
    }

    /// `CLOCK_BOOTTIME` here.
    pub(super) fn local(&self, now: u64) -> u64 {
        let run = (now - self.since.0).cast_signed();
        let local = self.since.1.cast_signed() + run + run * self.rate_error_ppm / 1_000_000;
        local.cast_unsigned()
    }

    /// A real time at which the clock here has reached `local`, at most two nanoseconds late.
    pub(super) fn real(&self, local: u64) -> u64 {
        let wanted = local
            .saturating_sub(self.since.1)
            .min(1 << 49)
            .cast_signed();
        let run = wanted - wanted * self.rate_error_ppm / (1_000_000 + self.rate_error_ppm) + 2;
        self.since.0 + run.cast_unsigned()
    }

    /// The clock leaps forward at the end of a sleep. How long that was makes no difference but that it shows.
    pub(super) fn leap(&mut self, now: u64, nanoseconds: u64) {
        self.since = (now, self.local(now) + nanoseconds);
        self.slept += super::SLEEP_MIN + nanoseconds;
    }

    /// Whether the kernel lets packets of the address pass.
    pub(super) fn gate_open(&self, now: u64) -> bool {
        !self.asleep && self.local(now) < self.gate_until
    }

    /// Everything in memory is gone, and the clock starts again.
    pub(super) fn reboot(&mut self, now: u64) {
        self.boots += 1;
        self.since = (now, 1);
        self.tmpfs = Tmpfs::new(self.id, self.boots);
        self.gate_until = 0;
        self.address = false;
        self.asleep = false;
        self.slept = 0;
        self.end_process();
    }

    /// The record is gone.
    pub(super) fn forget(&mut self) {
        self.tmpfs = Tmpfs::new(self.id, self.boots);
    }

    pub(super) fn end_process(&mut self) {
        self.process = None;
        self.timer = u64::MAX;
        self.generation += 1;
    }
}
