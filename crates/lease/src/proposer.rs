//! The proposer: how one host comes to hold the lease, keeps it and lets it go. It judges no other host's request and
//! reads no clock.
//!
//! The picture is in the crate's header. A ballot that was given up in Propose or lost in Hold is dead for ever (P7, P8).

mod asking;
mod ending;

use crate::acceptor::Acceptor;
use crate::answers::Answers;
use crate::candidates::Candidates;
use crate::effects::Effects;
use crate::random::Random;
use crate::round_trip::RoundTrips;
use crate::rules::Rules;
use crate::timing::{JITTER, MS};
use crate::{Ballot, Configuration, Message, Timing};

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
    candidates: Candidates,
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
            candidates: Candidates::default(),
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
        if let Some(ballot) = self.adopted() {
            self.incarnation = ballot.incarnation;
        }
    }

    /// What a process that breaks P10 goes on with.
    fn adopted(&self) -> Option<Ballot> {
        self.inherited.filter(|_| !self.rules.new_ballot())
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
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

    /// How well this host can serve, as others are told: 0 not at all.
    pub(crate) fn fitness(&self) -> u8 {
        if self.fit {
            u8::MAX - self.handicap.min(u8::MAX - 1)
        } else {
            0
        }
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
            self.candidates.keep(&configuration);
            self.next_survey = step.now;
            self.next_renew = step.now;
            self.redraw();
            self.next_try = self.next_try.max(step.now + self.order(self.host));
        }
        if let Some(ballot) = self.inherited.take_if(|_| self.rules.new_ballot()) {
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
        let members = self.configuration.members().len() as u64;
        let places = self.configuration.rank(self.host, gone) + u64::from(self.handicap) * members;
        places * Timing::slot(self.round_trip()) + self.jitter
    }

    fn redraw(&mut self) {
        self.jitter = self.random.below(JITTER);
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
