//! The proposer: how one host comes to hold the lease, keeps it and lets it go. It judges no other host's request and
//! reads no clock.
//!
//! The picture is in the crate's header. A ballot that was given up in Propose or lost in Hold is dead for ever (P7, P8).

use crate::acceptor::Acceptor;
use crate::answers::Answers;
use crate::effects::Effects;
use crate::random::Random;
use crate::round_trip::RoundTrips;
use crate::rules::Rules;
use crate::timing::{JITTER, MS};
use crate::{Ballot, Configuration, Message, NackReason, T_MAX, Timing};

/// Proposes whose answers may still earn something: a propose every T/5 is worthless after T.
const PROPOSES_MAX: usize = 8;

/// How often a host that does not hold asks around, to know round trips and rounds.
const SURVEY: u64 = 1_000 * MS;

/// When the address is announced after it was taken, then every [`ANNOUNCE_AGAIN`].
const ANNOUNCE_AT: [u64; 4] = [0, 20 * MS, 100 * MS, 500 * MS];
const ANNOUNCE_AGAIN: u64 = 10_000 * MS;

/// One propose as it was sent (P5).
#[derive(Debug, Clone, Copy)]
struct Sent {
    seq: u64,
    at: u64,
    lease: u64,
    answers: Answers,
}

/// A question whose answers are counted.
#[derive(Debug, Clone, Copy)]
struct Round {
    seq: u64,
    sent: u64,
    limit: u64,
    answers: Answers,
    /// The latest time at which an answer said to come back (P8).
    again_at: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Idle,
    Probe(Round),
    Prepare(Round),
    Propose(Round),
    Hold,
}

/// What one step gives the proposer to work with.
pub(crate) struct Step<'a> {
    pub(crate) now: u64,
    pub(crate) acceptor: &'a mut Acceptor,
    pub(crate) effects: &'a mut Effects,
}

#[derive(Debug)]
pub(crate) struct Proposer {
    host: u64,
    incarnation: u64,
    pub(crate) configuration: Configuration,
    timing: Option<Timing>,
    fit: bool,
    handicap: u8,
    phase: Phase,
    pub(crate) ballot: Ballot,
    pub(crate) highest_round: u64,
    pub(crate) released: Ballot,
    /// A ballot of an earlier process of this host that nobody released yet.
    inherited: Option<Ballot>,
    deadline: u64,
    proposes: [Option<Sent>; PROPOSES_MAX],
    next_seq: u64,
    next_try: u64,
    jitter: u64,
    fails: u32,
    query_first: bool,
    next_renew: u64,
    survey: (u64, u64),
    next_survey: u64,
    announced: usize,
    next_announce: u64,
    random: Random,
    round_trips: RoundTrips,
    rules: Rules,
}

impl Proposer {
    pub(crate) fn new(host: u64, incarnation: u64, seed: u64, now: u64, rules: Rules) -> Self {
        Self {
            host,
            incarnation,
            configuration: Configuration::default(),
            timing: None,
            fit: false,
            handicap: 0,
            phase: Phase::Idle,
            ballot: Ballot::NONE,
            highest_round: 0,
            released: Ballot::NONE,
            inherited: None,
            deadline: 0,
            proposes: [None; PROPOSES_MAX],
            next_seq: 1,
            next_try: now,
            jitter: 0,
            fails: 0,
            // Nothing is known yet: asking disturbs nobody (P2).
            query_first: true,
            next_renew: 0,
            survey: (0, 0),
            next_survey: now,
            announced: 0,
            next_announce: 0,
            random: Random::new(seed),
            round_trips: RoundTrips::default(),
            rules,
        }
    }

    /// P10: the ballots of an earlier process are known, but never used again.
    pub(crate) fn inherit(
        &mut self,
        configuration: Configuration,
        highest_round: u64,
        ballot: Ballot,
        released: Ballot,
    ) {
        self.configuration = configuration;
        self.highest_round = highest_round.max(ballot.round);
        (self.ballot, self.released) = (ballot, released);
        self.inherited = (ballot > released).then_some(ballot);
    }

    pub(crate) fn holding(&self) -> bool {
        matches!(self.phase, Phase::Hold)
    }

    pub(crate) fn deadline(&self) -> u64 {
        if self.holding() { self.deadline } else { 0 }
    }

    /// P3: every round that anybody mentions.
    pub(crate) fn learn(&mut self, ballot: Ballot) {
        self.highest_round = self.highest_round.max(ballot.round);
    }

    pub(crate) fn fit(&mut self, fit: bool, handicap: u8) {
        (self.fit, self.handicap) = (fit, handicap);
    }

    /// P6. The epoch is newer than the present one, or the same with the same voters.
    pub(crate) fn feed(
        &mut self,
        step: &mut Step<'_>,
        configuration: Configuration,
        timing: Timing,
    ) {
        let changed = configuration.epoch() != self.configuration.epoch() || self.timing.is_none();
        if changed && !self.holding() {
            self.abandon(step);
            self.phase = Phase::Idle;
        }
        self.configuration = configuration;
        self.timing = Some(timing);
        if changed {
            self.round_trips.keep(&configuration);
            self.next_survey = step.now;
            self.next_renew = step.now;
            self.redraw();
            self.next_try = self.next_try.max(step.now + self.order(self.host));
        }
        if let Some(ballot) = self.inherited.take() {
            self.release(step, ballot, 0);
        }
        if self.holding() && !configuration.is_proposer(self.host) {
            self.hand_over(step, None);
        }
    }

    /// What has run out. Comes before the step's input: an answer after the deadline revives nothing (P7, P4).
    pub(crate) fn expire(&mut self, step: &mut Step<'_>) {
        match self.phase {
            Phase::Hold if step.now >= self.deadline => self.lose(step),
            Phase::Probe(round) | Phase::Prepare(round) | Phase::Propose(round)
                if step.now >= round.limit =>
            {
                self.give_up(step, round);
            }
            _ => {}
        }
    }

    /// What is due. Comes after the step's input.
    pub(crate) fn act(&mut self, step: &mut Step<'_>) {
        let now = step.now;
        if matches!(self.phase, Phase::Idle)
            && self.start_at(step.acceptor).is_some_and(|at| now >= at)
        {
            if self.query_first {
                self.probe(step);
            } else {
                self.prepare(step);
            }
        }
        if self.holding() && now >= self.next_renew {
            self.propose(step);
        }
        if self.holding() && now >= self.next_announce {
            step.effects.announce();
            self.announced += 1;
            let last = ANNOUNCE_AT[self.announced.min(ANNOUNCE_AT.len()) - 1];
            let next = ANNOUNCE_AT.get(self.announced).copied();
            self.next_announce = now + next.map_or(ANNOUNCE_AGAIN, |next| next - last);
        }
        if !self.holding() && self.timing.is_some() && now >= self.next_survey {
            self.next_survey = now + SURVEY;
            self.survey = (self.take_seq(), now);
            self.send_all(step, Message::Query { seq: self.survey.0 });
        }
    }

    /// When the next tick has something to do.
    pub(crate) fn wake(&self, acceptor: &Acceptor) -> u64 {
        let phase = match self.phase {
            Phase::Hold => return self.deadline.min(self.next_renew).min(self.next_announce),
            Phase::Probe(round) | Phase::Prepare(round) | Phase::Propose(round) => round.limit,
            Phase::Idle => self.start_at(acceptor).unwrap_or(u64::MAX),
        };
        if self.timing.is_some() {
            phase.min(self.next_survey)
        } else {
            phase
        }
    }

    /// P7 for a jump of `CLOCK_BOOTTIME` against `CLOCK_MONOTONIC`.
    pub(crate) fn clock_jumped(&mut self, step: &mut Step<'_>) {
        if self.holding() {
            self.lose(step);
        }
    }

    /// P9: close, remove, record, release; [`Effects`] keeps that order.
    pub(crate) fn hand_over(&mut self, step: &mut Step<'_>, successor: Option<u64>) {
        match self.phase {
            Phase::Idle => return,
            Phase::Hold => {
                step.effects.close();
                self.release(step, self.ballot, successor.unwrap_or(0));
            }
            Phase::Probe(_) | Phase::Prepare(_) | Phase::Propose(_) => self.abandon(step),
        }
        self.phase = Phase::Idle;
        self.query_first = true;
        self.next_try = step.now + self.lease();
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
            Message::Accepted { ballot, seq } => self.accepted(step, from, ballot, seq),
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
    fn probed(&mut self, step: &mut Step<'_>, from: u64, holder: u64, left: u64) {
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

    fn refused(
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
    fn come_back(&self, round: &mut Round, now: u64, holder: u64, left: u64) {
        let at = now + left.min(T_MAX) + self.order(holder);
        round.again_at = Some(round.again_at.map_or(at, |earlier| earlier.max(at)));
        round.limit = round.limit.min(at);
    }

    /// P5.
    fn accepted(&mut self, step: &mut Step<'_>, from: u64, ballot: Ballot, seq: u64) {
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
        if !sent.answers.won() {
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

    fn probe(&mut self, step: &mut Step<'_>) {
        let round = self.round(step.now);
        self.phase = Phase::Probe(round);
        self.send_all(step, Message::Query { seq: round.seq });
        if self.answers_itself(step) {
            let own = step.acceptor.state(step.now, round.seq);
            self.answered(step, self.host, own);
        }
    }

    /// P3: a ballot above everything seen, recorded before it leaves.
    fn prepare(&mut self, step: &mut Step<'_>) {
        self.learn(step.acceptor.highest());
        self.highest_round += 1;
        self.ballot = Ballot {
            round: self.highest_round,
            host: self.host,
            incarnation: self.incarnation,
        };
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
    fn propose(&mut self, step: &mut Step<'_>) {
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
            let own = step.acceptor.propose(step.now, ballot, seq, epoch, lease);
            self.answered(step, self.host, own);
        }
    }

    /// P7.
    fn lose(&mut self, step: &mut Step<'_>) {
        step.effects.close();
        self.release(step, self.ballot, 0);
        self.phase = Phase::Idle;
        self.query_first = true;
        self.redraw();
        self.next_try = step.now + self.lease() / 2 + self.order(self.host);
    }

    /// P8.
    fn give_up(&mut self, step: &mut Step<'_>, round: Round) {
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
    fn abandon(&mut self, step: &mut Step<'_>) {
        if let Phase::Propose(_) = self.phase {
            self.release(step, self.ballot, 0);
        }
    }

    fn release(&mut self, step: &mut Step<'_>, ballot: Ballot, successor: u64) {
        self.released = self.released.max(ballot);
        self.proposes = [None; PROPOSES_MAX];
        step.acceptor.release(ballot);
        step.effects.record();
        self.send_all(step, Message::Release { ballot, successor });
    }

    /// P1.
    fn start_at(&self, acceptor: &Acceptor) -> Option<u64> {
        if !self.fit || self.timing.is_none() || !self.configuration.is_proposer(self.host) {
            return None;
        }
        let other = acceptor
            .lock
            .filter(|lock| lock.ballot.host != self.host && self.rules.lock_check());
        let free = other.map_or(0, |lock| {
            lock.expiry.saturating_add(self.order(lock.ballot.host))
        });
        Some(free.max(self.next_try))
    }

    /// What this host waits longer than the first in the ranking.
    fn order(&self, gone: u64) -> u64 {
        let places = self.configuration.rank(self.host, gone) + u64::from(self.handicap);
        places * Timing::slot(self.round_trip()) + self.jitter
    }

    fn redraw(&mut self) {
        self.jitter = self.random.below(JITTER);
    }

    fn round(&mut self, now: u64) -> Round {
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

    fn round_trip(&self) -> u64 {
        self.round_trips.to_majority(self.host, &self.configuration)
    }

    fn measured(&mut self, from: u64, now: u64, sent: u64) {
        if from != self.host && self.configuration.place(from).is_some() {
            self.round_trips.measured(from, now.saturating_sub(sent));
        }
    }

    fn lease(&self) -> u64 {
        self.timing.map_or(0, Timing::lease)
    }

    fn take_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq
    }

    fn answers_itself(&self, step: &Step<'_>) -> bool {
        self.configuration.place(self.host).is_some() && step.acceptor.answers(step.now)
    }

    fn send_all(&self, step: &mut Step<'_>, message: Message) {
        for member in self
            .configuration
            .members()
            .iter()
            .filter(|member| member.id != self.host)
        {
            step.effects.send(member.id, message);
        }
    }
}
