//! The way to the lease and its renewal: query, prepare, propose, and what the answers mean (P2 to P6).

use super::{PROPOSES_MAX, Phase, Proposer, Round, Sent, Step};
use crate::answers::Answers;
use crate::{Ballot, Message, NackReason, T_MAX, Timing};

impl Proposer {
    /// An answer to something this process asked, from `from`, which may be this host itself.
    pub(crate) fn answered(&mut self, step: &mut Step<'_>, from: u64, message: Message) {
        match message {
            Message::Promise { ballot, .. } => {
                let Phase::Prepare(mut round) = self.phase else {
                    return;
                };
                if ballot != self.ballot {
                    return;
                }
                self.measured(from, step.now, round.sent);
                round.answers.yes(from);
                self.phase = Phase::Prepare(round);
                if round.answers.won() {
                    // P4
                    self.phase = Phase::Propose(self.round(step.now));
                    self.propose(step);
                }
            }
            Message::Accepted {
                ballot,
                seq,
                fitness,
            } => {
                self.candidates.heard(from, step.now, fitness);
                self.accepted(step, from, ballot, seq);
            }
            Message::Nack {
                ballot,
                reason,
                holder,
                left,
                promised,
                ..
            } => {
                self.learn(promised);
                let leased = (reason == NackReason::Leased).then_some((holder, left));
                self.refused(step, from, ballot, leased);
            }
            Message::State {
                seq,
                lock,
                left,
                promised,
            } => {
                self.learn(promised);
                self.learn(lock);
                if seq == self.survey.0 {
                    self.measured(from, step.now, self.survey.1);
                }
                let Phase::Probe(round) = self.phase else {
                    return;
                };
                if seq == round.seq {
                    self.measured(from, step.now, round.sent);
                    self.probed(step, from, lock.host, left);
                }
            }
            Message::Prepare { .. }
            | Message::Propose { .. }
            | Message::Query { .. }
            | Message::Release { .. } => {}
        }
    }

    /// P2: a majority that says "free" allows a prepare.
    pub(super) fn probed(&mut self, step: &mut Step<'_>, from: u64, holder: u64, left: u64) {
        let Phase::Probe(mut round) = self.phase else {
            return;
        };
        if left == 0 || holder == self.host {
            round.answers.yes(from);
        } else {
            round.answers.no(from);
            self.come_back(&mut round, step.now, holder, left);
        }
        self.phase = Phase::Probe(round);
        if round.answers.won() {
            self.query_first = false;
            self.prepare(step);
        } else if round.answers.lost() {
            self.give_up(step, round);
        }
    }

    pub(super) fn refused(
        &mut self,
        step: &mut Step<'_>,
        from: u64,
        ballot: Ballot,
        leased: Option<(u64, u64)>,
    ) {
        let (Phase::Prepare(mut round) | Phase::Propose(mut round)) = self.phase else {
            return;
        };
        if ballot != self.ballot {
            return;
        }
        self.measured(from, step.now, round.sent);
        round.answers.no(from);
        if let Some((holder, left)) = leased {
            self.come_back(&mut round, step.now, holder, left);
        }
        self.phase = match self.phase {
            Phase::Prepare(_) => Phase::Prepare(round),
            _ => Phase::Propose(round),
        };
        if round.answers.lost() {
            self.give_up(step, round);
        }
    }

    /// P8: after a lock of another host, come back when it has expired. If that is soon, do not wait for the limit.
    pub(super) fn come_back(&self, round: &mut Round, now: u64, holder: u64, left: u64) {
        let at = now + left.min(T_MAX) + self.order(holder);
        round.again_at = Some(round.again_at.map_or(at, |earlier| earlier.max(at)));
        round.limit = round.limit.min(at);
    }

    /// P5.
    pub(super) fn accepted(&mut self, step: &mut Step<'_>, from: u64, ballot: Ballot, seq: u64) {
        if ballot != self.ballot || !matches!(self.phase, Phase::Propose(_) | Phase::Hold) {
            return;
        }
        if let Phase::Propose(round) = &mut self.phase {
            round.answers.yes(from);
        }
        let newest = self.proposes.iter().flatten().map(|sent| sent.seq).max();
        let counted = if self.rules.seq_echo() {
            Some(seq)
        } else {
            newest
        };
        let Some(sent) = self
            .proposes
            .iter_mut()
            .flatten()
            .find(|sent| Some(sent.seq) == counted)
        else {
            return;
        };
        sent.answers.yes(from);
        let sent = *sent;
        self.measured(from, step.now, sent.at);
        let needed = if self.rules.configuration_at_sending() {
            sent.answers.majority()
        } else {
            self.configuration.majority()
        };
        if sent.answers.count() < needed {
            return;
        }
        let base = if self.rules.deadline_from_sending() {
            sent.at
        } else {
            step.now
        };
        let deadline = base + Timing::earned(sent.lease);
        if deadline <= step.now {
            return;
        }
        if !self.holding() {
            (self.phase, self.deadline) = (Phase::Hold, 0);
            (self.fails, self.announced) = (0, 0);
            self.next_announce = step.now;
            step.effects.add_address();
        }
        if deadline > self.deadline {
            self.deadline = deadline;
            step.effects.open(deadline);
        }
    }

    pub(super) fn probe(&mut self, step: &mut Step<'_>) {
        let round = self.round(step.now);
        self.phase = Phase::Probe(round);
        self.send_all(step, Message::Query { seq: round.seq });
        if self.answers_itself(step) {
            let own = step.acceptor.state(step.now, round.seq);
            self.answered(step, self.host, own);
        }
    }

    /// P3: a ballot above everything seen, recorded before it leaves.
    pub(super) fn prepare(&mut self, step: &mut Step<'_>) {
        self.learn(step.acceptor.highest());
        self.highest_round += 1;
        self.ballot = self.adopted().unwrap_or(Ballot {
            round: self.highest_round,
            host: self.host,
            incarnation: self.incarnation,
        });
        self.proposes = [None; PROPOSES_MAX];
        self.phase = Phase::Prepare(self.round(step.now));
        step.effects.record();
        let (ballot, epoch) = (self.ballot, self.configuration.epoch());
        self.send_all(step, Message::Prepare { ballot, epoch });
        if self.answers_itself(step) {
            let own = step.acceptor.prepare(step.now, ballot, epoch);
            self.answered(step, self.host, own);
        }
    }

    /// P4 to P6. The time was read before anything is sent.
    pub(super) fn propose(&mut self, step: &mut Step<'_>) {
        let lease = self.lease();
        let seq = self.take_seq();
        let sent = Sent {
            seq,
            at: step.now,
            lease,
            answers: Answers::new(self.configuration),
        };
        self.proposes.rotate_right(1);
        self.proposes[0] = Some(sent);
        self.next_renew = step.now + self.timing.map_or(lease, Timing::renew);
        let (ballot, epoch) = (self.ballot, self.configuration.epoch());
        self.send_all(
            step,
            Message::Propose {
                ballot,
                seq,
                epoch,
                lease,
            },
        );
        if self.answers_itself(step) {
            step.effects.record();
            let fitness = self.fitness();
            let own = step
                .acceptor
                .propose(step.now, ballot, seq, epoch, lease, fitness);
            self.answered(step, self.host, own);
        }
    }

    pub(super) fn round(&mut self, now: u64) -> Round {
        let limit = now
            + self
                .timing
                .map_or(0, |timing| timing.limit(self.round_trip()));
        Round {
            seq: self.take_seq(),
            sent: now,
            limit,
            answers: Answers::new(self.configuration),
            again_at: None,
        }
    }

    pub(super) fn answers_itself(&self, step: &Step<'_>) -> bool {
        self.configuration.place(self.host).is_some() && step.acceptor.answers(step.now)
    }
}
