//! One host's part in the lease: its acceptor and its proposer in one process, stepped by inputs.

use crate::acceptor::Acceptor;
use crate::effects::Effects;
use crate::proposer::{Proposer, Step};
use crate::rules::Rules;
use crate::timing::GRACE;
use crate::{Ballot, Configuration, Message, Record, Timing};

/// Who this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The host's id, never 0.
    pub host: u64,
    /// Random per start of the process, never 0.
    pub incarnation: u64,
    /// Seed for jitter and back-off.
    pub seed: u64,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Input {
    /// The time of [`Lease::wake`] has come, or nothing in particular happened.
    Tick,
    /// An authenticated datagram, seen for the first time.
    Datagram {
        /// The sending host.
        sender: u64,
        /// The sender's incarnation.
        incarnation: u64,
        /// What it said.
        message: Message,
    },
    /// `khad` feeds a configuration (A9, P6). An older epoch than the present, or the same with other voters, is ignored.
    Feed {
        /// Epoch and members.
        configuration: Configuration,
        /// The lease time.
        timing: Timing,
        /// Learned by a linearizable read made after this boot (A8).
        confirmed: bool,
    },
    /// Whether this host can serve. One that cannot does not try to become the holder, but stays it.
    Fit {
        /// It can.
        fit: bool,
        /// For one that can serve but not well: it stands back behind all that have less, whatever their preference.
        handicap: u8,
    },
    /// Give the lease away (P9). Nothing happens unless this host holds it or is about to.
    HandOver {
        /// Who may take it at once; the others wait a little. `None`: the fittest of those that this holder hears.
        successor: Option<u64>,
    },
    /// `CLOCK_BOOTTIME` jumped against `CLOCK_MONOTONIC`: the machine was suspended (P7). How long it slept may be known
    /// only roughly, so the acceptor is silent as after a start.
    ClockJump,
    /// The gate could not be opened, so the lease is of no use here (P7).
    OpenFailed,
}

/// What a host knows about the lease.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct View {
    /// Whose unexpired lock this host's acceptor has.
    pub holder: Option<u64>,
    /// Until when, as far as this host knows; 0 if nobody holds.
    pub holder_until: u64,
    /// This host holds.
    pub holding: bool,
    /// The earned deadline; 0 unless holding.
    pub deadline: u64,
    /// The epoch in use.
    pub epoch: u64,
    /// The fenced epoch; the only one to report (A9).
    pub fence: u64,
    /// The end of the silence after the start (A8).
    pub silent_until: u64,
    /// Fed a confirmed epoch since boot (A8).
    pub ready: bool,
    /// The ballot in use or last used.
    pub ballot: Ballot,
}

/// Acceptor and proposer of one host.
#[derive(Debug)]
pub struct Lease {
    host: u64,
    incarnation: u64,
    acceptor: Acceptor,
    proposer: Proposer,
    /// An epoch that becomes the fence at a time (A9).
    fence_next: Option<(u64, u64)>,
}

impl Lease {
    /// Starts with the record of this boot, or silent without one (A8). The effects close whatever an earlier process
    /// left open and write the record; they come before anything else.
    pub fn start(
        identity: Identity,
        now: u64,
        record: Option<&Record>,
        effects: &mut Effects,
    ) -> Self {
        Self::start_with(identity, now, record, effects, Rules::all())
    }

    pub(crate) fn start_with(
        identity: Identity,
        now: u64,
        record: Option<&Record>,
        effects: &mut Effects,
        rules: Rules,
    ) -> Self {
        let mut proposer = Proposer::new(
            identity.host,
            identity.incarnation,
            identity.seed,
            now,
            rules,
        );
        let mut record = record.copied().unwrap_or(Record {
            silent_until: now.saturating_add(rules.silence_span()),
            ..Record::default()
        });
        if !rules.silence_in_record() {
            record.silent_until = 0;
        }
        let Record {
            configuration,
            highest_round,
            ballot,
            released,
            ..
        } = record;
        proposer.inherit(configuration, highest_round, ballot, released);
        effects.clear();
        effects.close();
        effects.record();
        Self {
            host: identity.host,
            incarnation: proposer.incarnation(),
            acceptor: record.acceptor(rules),
            proposer,
            fence_next: None,
        }
    }

    /// One step. `now` was read before the step and only rises; `effects` is cleared, then filled.
    pub fn step(&mut self, now: u64, input: Input, effects: &mut Effects) {
        effects.clear();
        let before = self.record();
        let rules = self.acceptor.rules;
        let mut step = Step {
            now,
            acceptor: &mut self.acceptor,
            effects,
        };
        self.proposer.expire(&mut step);
        match input {
            Input::Tick => {}
            Input::Datagram {
                sender,
                incarnation,
                message,
            } => {
                if sender != self.host && sender != 0 {
                    received(&mut self.proposer, &mut step, sender, incarnation, message);
                }
            }
            Input::Feed {
                configuration,
                timing,
                confirmed,
            } => {
                let (present, epoch) = (self.proposer.configuration, configuration.epoch());
                let same = epoch == present.epoch() && configuration.same_voters(&present);
                if epoch > present.epoch() || same {
                    self.proposer.feed(&mut step, configuration, timing);
                    if confirmed && !step.acceptor.ready {
                        step.acceptor.ready = true;
                        // A8: the fence of before the boot is forgotten, and may have been reported. GRACE would be a
                        // second in which an epoch that others count as over finds an answer here.
                        if rules.fence_when_ready() {
                            step.acceptor.raise_fence(epoch);
                        }
                    }
                    let waiting = self.fence_next.is_some_and(|(fence, _)| fence == epoch);
                    if epoch > step.acceptor.fence && !waiting {
                        self.fence_next = Some((epoch, now.saturating_add(GRACE)));
                    }
                }
            }
            Input::Fit { fit, handicap } => self.proposer.fit(fit, handicap),
            Input::HandOver { successor } => self.proposer.hand_over(&mut step, successor),
            Input::ClockJump => {
                self.proposer.give_way(&mut step);
                if rules.silence_after_jump() {
                    step.acceptor.fall_silent(now);
                }
            }
            Input::OpenFailed => self.proposer.give_way(&mut step),
        }
        if let Some((epoch, _)) = self.fence_next.filter(|(_, at)| now >= *at) {
            step.acceptor.raise_fence(epoch);
            self.fence_next = None;
        }
        self.proposer.act(&mut step);
        if self.record() != before {
            effects.record();
        }
    }

    /// The latest time for the next step.
    pub fn wake(&self) -> u64 {
        let fence = self.fence_next.map_or(u64::MAX, |(_, at)| at);
        self.proposer.wake(&self.acceptor).min(fence)
    }

    /// What [`crate::Effect::Record`] writes.
    pub fn record(&self) -> Record {
        let Acceptor {
            promised,
            lock,
            floor,
            fence,
            silent_until,
            ready,
            ..
        } = self.acceptor;
        let Proposer {
            configuration,
            highest_round,
            ballot,
            released,
            ..
        } = self.proposer;
        Record {
            promised,
            lock,
            floor,
            fence,
            silent_until,
            ready,
            configuration,
            highest_round,
            ballot,
            released,
        }
    }

    /// What this host knows.
    pub fn view(&self, now: u64) -> View {
        let lock = self.acceptor.lock.filter(|lock| lock.left(now) > 0);
        let (holder, holder_until) = if self.proposer.holding() {
            (Some(self.host), self.proposer.deadline())
        } else {
            (
                lock.map(|lock| lock.ballot.host),
                lock.map_or(0, |lock| lock.expiry),
            )
        };
        View {
            holder,
            holder_until,
            holding: self.proposer.holding(),
            deadline: self.proposer.deadline(),
            epoch: self.proposer.configuration.epoch(),
            fence: self.acceptor.fence,
            silent_until: self.acceptor.silent_until,
            ready: self.acceptor.ready,
            ballot: self.proposer.ballot,
        }
    }

    /// This process' incarnation, for the datagrams it sends.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }
}

fn received(
    proposer: &mut Proposer,
    step: &mut Step<'_>,
    sender: u64,
    incarnation: u64,
    message: Message,
) {
    let now = step.now;
    // Nobody speaks for another host, nor for another process of its own; a release may come from khad (K5).
    let own = |ballot: Ballot| {
        ballot.is_some() && ballot.host == sender && ballot.incarnation == incarnation
    };
    match message {
        Message::Prepare { ballot, epoch } if own(ballot) => {
            proposer.learn(ballot);
            if step.acceptor.answers(now) {
                let answer = step.acceptor.prepare(now, ballot, epoch);
                if let Message::Promise { .. } = answer {
                    proposer.stand_back(now);
                }
                step.effects.answer(answer);
            }
        }
        Message::Propose {
            ballot,
            seq,
            epoch,
            lease,
        } if own(ballot) => {
            proposer.learn(ballot);
            if step.acceptor.answers(now) {
                let answer =
                    step.acceptor
                        .propose(now, ballot, seq, epoch, lease, proposer.fitness());
                step.effects.answer(answer);
            }
        }
        Message::Query { seq } => {
            if step.acceptor.answers(now) {
                let answer = step.acceptor.state(now, seq);
                step.effects.answer(answer);
            }
        }
        Message::Release { ballot, successor } if ballot.is_some() && ballot.host == sender => {
            proposer.learn(ballot);
            let cleared = step.acceptor.release(ballot);
            proposer.released_by(step, ballot, cleared, successor);
        }
        Message::Promise { .. }
        | Message::Accepted { .. }
        | Message::Nack { .. }
        | Message::State { .. } => {
            proposer.answered(step, sender, message);
        }
        Message::Prepare { .. } | Message::Propose { .. } | Message::Release { .. } => {}
    }
}
