//! What a negative control leaves out: a rule of the lease, or of those who carry it out.

use crate::rules::{Rule, Rules};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Control {
    /// Nothing: the rules as they ship.
    None,
    /// A rule of the state machine.
    Without(Rule),
    /// No gate: who has the address answers (G1).
    NoGate,
    /// The gate is told how long, not until when; a stall in between opens it late (G2).
    RelativeGate,
    /// Others see the answer before the record is written (A7).
    RecordAfterAnswer,
    /// A hand-over releases before the gate is closed (P9).
    ReleaseBeforeClose,
    /// A host whose gate did not close answers others as if it had (P9).
    AnswerWhileOpen,
    /// A process that starts with the record of before a sleep takes the clock for one that ran on (P7).
    SleepBetweenProcesses,
    /// `khad` releases for a dead process and leaves the gate as it is (K2).
    ReleaseWithoutClose,
    /// `khad` releases for a process that it only believes to be dead (K1).
    UnprovenDeath,
    /// Changes of the members as fast as they come (M2).
    ChangeAtOnce,
    /// A new leader takes over the reports, and nobody waits S (M2).
    ChangeWithoutSilence,
    /// Several members in one change (M1).
    SeveralVoters,
}

impl Control {
    /// The rules of the state machine under this control.
    pub(super) fn rules(self, present_lease: u64) -> Rules {
        match self {
            Self::Without(rule) => Rules::without(rule, present_lease),
            _ => Rules::all(),
        }
    }
}
