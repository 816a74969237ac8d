//! Ways out: a lease lost (P7), a round given up (P8), a hand-over made or received (P9).

use super::{PROPOSES_MAX, Phase, Proposer, Round, Step};
use crate::{Ballot, Message, Timing};

impl Proposer {
    /// P7 for a lease that is of no use here any more, though it has not run out.
    pub(crate) fn give_way(&mut self, step: &mut Step<'_>) {
        if self.holding() {
            self.lose(step);
        }
    }

    /// P9: close, remove, record, release; `Effects` keeps that order. Nobody named: the fittest of those that answered
    /// the latest propose, or the one before while an answer to the latest may be under way. Without a name those who
    /// come next in rank would duel for it on a slow machine.
    pub(crate) fn hand_over(&mut self, step: &mut Step<'_>, successor: Option<u64>) {
        match self.phase {
            Phase::Idle => return,
            Phase::Hold => {
                step.effects.close();
                let successor = successor.or_else(|| self.successor(step.now));
                self.release(step, self.ballot, successor.unwrap_or(0));
            }
            Phase::Probe(_) | Phase::Prepare(_) | Phase::Propose(_) => self.abandon(step),
        }
        self.phase = Phase::Idle;
        self.query_first = true;
        self.next_try = step.now + self.lease();
    }

    fn successor(&self, now: u64) -> Option<u64> {
        let timing = self.timing?;
        let heartbeat = timing.renew() + timing.limit(self.round_trip());
        let since = now.saturating_sub(heartbeat);
        self.candidates.best(&self.configuration, self.host, since)
    }

    /// A release arrived: P9 for the others.
    pub(crate) fn released_by(
        &mut self,
        step: &Step<'_>,
        ballot: Ballot,
        cleared: bool,
        successor: u64,
    ) {
        let Phase::Idle = self.phase else { return };
        self.redraw();
        if successor == self.host {
            self.query_first = false;
            self.next_try = step.now;
        } else if successor != 0 {
            self.next_try = step.now + self.lease() / 4 + self.order(ballot.host);
        } else if cleared {
            self.next_try = step.now + self.order(ballot.host);
        }
    }

    /// Another host was promised that it may propose, which it does within its limit. A ballot of this host's in
    /// between would make both fail, and both back off.
    pub(crate) fn stand_back(&mut self, now: u64) {
        if let (Phase::Idle | Phase::Probe(_), Some(timing)) = (self.phase, self.timing) {
            let limit = timing.limit(self.round_trip());
            self.phase = Phase::Idle;
            self.next_try = self.next_try.max(now + limit);
        }
    }

    /// P7.
    pub(super) fn lose(&mut self, step: &mut Step<'_>) {
        step.effects.close();
        if !self.rules.dead_ballot() {
            self.deadline = step.now + self.lease();
            return;
        }
        if self.rules.release_of_the_lost() {
            self.release(step, self.ballot, 0);
        }
        self.phase = Phase::Idle;
        self.query_first = true;
        self.redraw();
        self.next_try = step.now + self.lease() / 2 + self.order(self.host);
    }

    /// P8.
    pub(super) fn give_up(&mut self, step: &mut Step<'_>, round: Round) {
        self.query_first |= !round.answers.heard();
        self.abandon(step);
        self.phase = Phase::Idle;
        self.redraw();
        let slot = Timing::slot(self.round_trip());
        let most = slot
            .saturating_mul(1 << self.fails.min(20))
            .min(self.lease());
        self.fails = self.fails.saturating_add(1);
        let back_off = self.random.below(most);
        self.next_try = round.again_at.unwrap_or(step.now + back_off).max(step.now) + self.jitter;
    }

    /// Frees partial locks (P8).
    pub(super) fn abandon(&mut self, step: &mut Step<'_>) {
        if let Phase::Propose(_) = self.phase {
            self.release(step, self.ballot, 0);
        }
    }

    pub(super) fn release(&mut self, step: &mut Step<'_>, ballot: Ballot, successor: u64) {
        self.released = self.released.max(ballot);
        self.proposes = [None; PROPOSES_MAX];
        step.acceptor.release(ballot);
        step.effects.record();
        self.send_all(step, Message::Release { ballot, successor });
    }
}
