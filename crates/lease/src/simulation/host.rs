//! One simulated host: its clock, its kernel (gate, address, tmpfs) and at most one process.

use std::collections::VecDeque;

use crate::{Effect, Input, Lease, Record};

/// The machine; what is in here survives the process, and a reboot makes a new one.
pub(super) struct Host {
    pub(super) id: u64,
    /// Error of the clock in parts per million, at most 10,000 either way.
    rate_error_ppm: i64,
    booted: u64,
    /// The record on tmpfs.
    pub(super) record: Option<Record>,
    /// The gate's absolute deadline on this host's clock: the kernel's view.
    pub(super) gate_until: u64,
    pub(super) address: bool,
    pub(super) process: Option<Process>,
    /// Rises with every start, so that events of an earlier process are known as such.
    pub(super) generation: u64,
    pub(super) fit: bool,
}

/// The running `khavip`.
pub(super) struct Process {
    pub(super) lease: Lease,
    pub(super) stalled: bool,
    /// What a stall left undone: it goes on with these first.
    pub(super) undone: VecDeque<(Effect, Option<usize>)>,
    /// What arrived during a stall.
    pub(super) inbox: VecDeque<(Input, Option<usize>)>,
    pub(super) wake: u64,
}

impl Host {
    pub(super) fn new(id: u64, rate_error_ppm: i64) -> Self {
        Self {
            id,
            rate_error_ppm,
            booted: 0,
            record: None,
            gate_until: 0,
            address: false,
            process: None,
            generation: 0,
            fit: true,
        }
    }

    /// `CLOCK_BOOTTIME` here.
    pub(super) fn local(&self, now: u64) -> u64 {
        let run = i128::from(now - self.booted);
        let local = run * i128::from(1_000_000 + self.rate_error_ppm) / 1_000_000;
        u64::try_from(local).unwrap_or(0)
    }

    /// The real time at which the clock here reaches `local`.
    pub(super) fn real(&self, local: u64) -> u64 {
        let run = (i128::from(local) * 1_000_000) / i128::from(1_000_000 + self.rate_error_ppm) + 1;
        self.booted
            .saturating_add(u64::try_from(run).unwrap_or(u64::MAX))
    }

    pub(super) fn gate_open(&self, now: u64) -> bool {
        self.local(now) < self.gate_until
    }

    /// A process that runs answers for its address; one that stands still does not act, only its gate counts.
    pub(super) fn answers(&self) -> bool {
        self.address
            && self
                .process
                .as_ref()
                .is_some_and(|process| !process.stalled)
    }

    /// Everything in memory is gone, and the clock starts again.
    pub(super) fn reboot(&mut self, now: u64) {
        self.booted = now;
        self.process = None;
        self.record = None;
        self.gate_until = 0;
        self.address = false;
        self.generation += 1;
    }
}
