//! The acceptor: what one host has promised and locked. It never starts anything and never reads a clock.

use crate::rules::Rules;
use crate::{Ballot, Message, NackReason, T_MAX};

/// A lease as one acceptor granted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// Whose.
    pub ballot: Ballot,
    /// Until when, on this host's `CLOCK_BOOTTIME` in nanoseconds.
    pub expiry: u64,
}

impl Lock {
    pub(crate) fn left(self, now: u64) -> u64 {
        self.expiry.saturating_sub(now)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acceptor {
    pub(crate) promised: Ballot,
    pub(crate) lock: Option<Lock>,
    pub(crate) floor: Ballot,
    pub(crate) fence: u64,
    pub(crate) silent_until: u64,
    pub(crate) ready: bool,
    pub(crate) rules: Rules,
}

impl Acceptor {
    /// A1: silent and unready acceptors say nothing at all.
    pub(crate) fn answers(&self, now: u64) -> bool {
        self.past_silence(now) && (self.ready || !self.rules.ready())
    }

    pub(crate) fn past_silence(&self, now: u64) -> bool {
        now >= self.silent_until || !self.rules.silence()
    }

    /// The unexpired lock of a host other than `host`.
    pub(crate) fn lock_of_other(&self, host: u64, now: u64) -> Option<Lock> {
        self.lock
            .filter(|lock| lock.ballot.host != host && lock.left(now) > 0)
    }

    /// The highest ballot that nobody can come below any more.
    pub(crate) fn highest(&self) -> Ballot {
        self.promised.max(self.floor)
    }

    /// A2 to A4.
    pub(crate) fn prepare(&mut self, now: u64, ballot: Ballot, epoch: u64) -> Message {
        if let Some(reason) = self.refusal(now, ballot, epoch) {
            return self.nack(now, ballot, 0, reason);
        }
        self.promised = ballot.max(self.promised);
        Message::Promise {
            ballot,
            fence: self.fence,
        }
    }

    /// A2, A3, A5. `fitness` is said along: this host's own.
    pub(crate) fn propose(
        &mut self,
        now: u64,
        ballot: Ballot,
        seq: u64,
        epoch: u64,
        lease: u64,
        fitness: u8,
    ) -> Message {
        if let Some(reason) = self.refusal(now, ballot, epoch) {
            return self.nack(now, ballot, seq, reason);
        }
        if lease > T_MAX {
            return self.nack(now, ballot, seq, NackReason::Ballot);
        }
        self.promised = ballot.max(self.promised);
        let asked = now.saturating_add(lease);
        let expiry = match self.lock {
            Some(lock) if lock.ballot.host == ballot.host && self.rules.expiry_never_shrinks() => {
                lock.expiry.max(asked)
            }
            _ => asked,
        };
        self.lock = Some(Lock { ballot, expiry });
        Message::Accepted {
            ballot,
            seq,
            fitness,
        }
    }

    /// The answer to a query. Changes nothing.
    pub(crate) fn state(&self, now: u64, seq: u64) -> Message {
        let lock = self.lock.map_or(Ballot::NONE, |lock| lock.ballot);
        let left = self.lock.map_or(0, |lock| lock.left(now));
        Message::State {
            seq,
            lock,
            left,
            promised: self.highest(),
        }
    }

    /// A6. True if a lock was cleared.
    pub(crate) fn release(&mut self, ballot: Ballot) -> bool {
        self.floor = self.floor.max(ballot);
        let mine = self.lock.is_some_and(|lock| {
            lock.ballot == ballot
                || (!self.rules.exact_release() && lock.ballot.host == ballot.host)
        });
        if mine {
            self.lock = None;
        }
        mine
    }

    /// A8: locks of before a jump may have expired too early by this clock, as if they had been forgotten.
    pub(crate) fn fall_silent(&mut self, now: u64) {
        let until = now.saturating_add(self.rules.silence_span());
        self.silent_until = self.silent_until.max(until);
    }

    /// A9: never falls.
    pub(crate) fn raise_fence(&mut self, epoch: u64) {
        self.fence = self.fence.max(epoch);
    }

    fn refusal(&self, now: u64, ballot: Ballot, epoch: u64) -> Option<NackReason> {
        if epoch < self.fence && self.rules.fence() {
            return Some(NackReason::Epoch);
        }
        if !self.rules.lock_check() {
            return None;
        }
        if self.lock_of_other(ballot.host, now).is_some() {
            return Some(NackReason::Leased);
        }
        // The floor counts for a prepare too: what could never be accepted is not worth a promise.
        (ballot < self.promised || ballot <= self.floor).then_some(NackReason::Ballot)
    }

    fn nack(&self, now: u64, ballot: Ballot, seq: u64, reason: NackReason) -> Message {
        let lock = self.lock.filter(|lock| lock.left(now) > 0);
        Message::Nack {
            ballot,
            seq,
            reason,
            holder: lock.map_or(0, |lock| lock.ballot.host),
            left: lock.map_or(0, |lock| lock.left(now)),
            promised: self.highest(),
            fence: self.fence,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ballot(round: u64, host: u64) -> Ballot {
        Ballot {
            round,
            host,
            incarnation: 7,
        }
    }

    fn acceptor() -> Acceptor {
        Acceptor {
            promised: Ballot::NONE,
            lock: None,
            floor: Ballot::NONE,
            fence: 0,
            silent_until: 0,
            ready: true,
            rules: Rules::all(),
        }
    }

    fn reason(answer: Message) -> Option<NackReason> {
        if let Message::Nack { reason, .. } = answer {
            Some(reason)
        } else {
            None
        }
    }

    #[test]
    fn a3_an_unexpired_lock_of_another_host_refuses_prepare_and_propose() {
        let mut acceptor = acceptor();
        assert_eq!(
            reason(acceptor.propose(100, ballot(1, 1), 1, 1, 50, 255)),
            None
        );
        assert_eq!(
            reason(acceptor.prepare(149, ballot(9, 2), 1)),
            Some(NackReason::Leased)
        );
        assert_eq!(
            reason(acceptor.propose(149, ballot(9, 2), 1, 1, 50, 255)),
            Some(NackReason::Leased)
        );
        assert_eq!(reason(acceptor.prepare(149, ballot(9, 1), 1)), None);
        assert_eq!(reason(acceptor.prepare(150, ballot(9, 2), 1)), None);
    }

    #[test]
    fn a2_an_older_epoch_than_the_fence_is_refused_and_a_newer_one_answered() {
        let mut acceptor = acceptor();
        acceptor.raise_fence(5);
        acceptor.raise_fence(3);
        assert_eq!(
            reason(acceptor.prepare(1, ballot(1, 1), 4)),
            Some(NackReason::Epoch)
        );
        assert_eq!(reason(acceptor.prepare(1, ballot(1, 1), 6)), None);
    }

    #[test]
    fn a4_a_promise_binds_against_lower_ballots_only() {
        let mut acceptor = acceptor();
        assert_eq!(reason(acceptor.prepare(1, ballot(5, 1), 1)), None);
        assert_eq!(reason(acceptor.prepare(1, ballot(5, 1), 1)), None);
        assert_eq!(
            reason(acceptor.prepare(1, ballot(4, 2), 1)),
            Some(NackReason::Ballot)
        );
        assert_eq!(
            reason(acceptor.propose(1, ballot(4, 2), 1, 1, 50, 255)),
            Some(NackReason::Ballot)
        );
    }

    #[test]
    fn a5_an_expiry_never_shrinks_and_no_lease_is_longer_than_t_max() {
        let mut acceptor = acceptor();
        acceptor.propose(100, ballot(1, 1), 1, 1, 50, 255);
        acceptor.propose(110, ballot(1, 1), 2, 1, 10, 255);
        assert_eq!(acceptor.lock.map(|lock| lock.expiry), Some(150));
        assert!(reason(acceptor.propose(110, ballot(1, 1), 3, 1, T_MAX + 1, 255)).is_some());
    }

    #[test]
    fn a6_a_release_clears_exactly_its_own_ballot_and_raises_the_floor() {
        let mut acceptor = acceptor();
        acceptor.propose(100, ballot(3, 1), 1, 1, 50, 255);
        assert!(!acceptor.release(ballot(2, 1)));
        assert!(acceptor.lock.is_some());
        assert!(acceptor.release(ballot(3, 1)));
        assert_eq!(acceptor.lock, None);
        assert_eq!(
            reason(acceptor.propose(101, ballot(3, 1), 2, 1, 50, 255)),
            Some(NackReason::Ballot)
        );
        assert_eq!(
            reason(acceptor.propose(101, ballot(4, 1), 3, 1, 50, 255)),
            None
        );
    }

    #[test]
    fn a1_a_silent_or_unready_acceptor_does_not_answer() {
        let silent = Acceptor {
            silent_until: 10,
            ..acceptor()
        };
        assert!(!silent.answers(9));
        assert!(silent.answers(10));
        assert!(
            !Acceptor {
                ready: false,
                ..acceptor()
            }
            .answers(10)
        );
    }
}
