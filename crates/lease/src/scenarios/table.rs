//! Three hosts at one table: a perfect network, one clock, and everything they ask for written down.

use std::collections::VecDeque;

use crate::rules::Rules;
use crate::timing::MS;
use crate::{
    Ballot, Configuration, Effect, Effects, Identity, Input, Lease, Member, Message, Record, Timing,
};

/// One way, in nanoseconds, until a test has it otherwise.
const DELAY: u64 = MS / 10;

pub(super) const T: u64 = 250 * MS;

/// Three hosts, past their silence, with everything they ask for written down.
pub(super) struct Table {
    pub(super) now: u64,
    pub(super) hosts: Vec<Seat>,
    /// Arrival, from, to, message.
    pub(super) flying: VecDeque<(u64, u64, u64, Message)>,
    /// Directed: what the first says to the second is lost.
    pub(super) cut: Vec<(u64, u64)>,
    pub(super) delay: u64,
    rules: Rules,
}

pub(super) struct Seat {
    pub(super) id: u64,
    pub(super) lease: Option<Lease>,
    pub(super) record: Record,
    pub(super) asked: Vec<(u64, Effect)>,
    pub(super) open_until: u64,
}

pub(super) fn configuration(epoch: u64, ids: &[u64]) -> Configuration {
    let members: Vec<_> = ids
        .iter()
        .map(|&id| Member {
            id,
            preference: 0,
            proposer: true,
        })
        .collect();
    Configuration::new(epoch, &members).expect("valid")
}

pub(super) fn feed(configuration: Configuration) -> Input {
    Input::Feed {
        configuration,
        timing: Timing::from_lease_ms(250).expect("valid"),
        confirmed: true,
    }
}

impl Table {
    /// Host 1 holds.
    pub(super) fn with_a_holder() -> Self {
        Self::under(Rules::all())
    }

    /// Host 1 holds, under these rules.
    pub(super) fn under(rules: Rules) -> Self {
        let mut table = Self {
            rules,
            now: 1_000 * MS,
            hosts: Vec::new(),
            flying: VecDeque::new(),
            cut: Vec::new(),
            delay: DELAY,
        };
        for id in 1..=3 {
            let record = Record {
                ready: true,
                ..Record::default()
            };
            table.hosts.push(Seat {
                id,
                lease: None,
                record,
                asked: Vec::new(),
                open_until: 0,
            });
            table.start(id);
        }
        for id in 1..=3 {
            table.step(id, feed(configuration(1, &[1, 2, 3])));
        }
        table.step(
            1,
            Input::Fit {
                fit: true,
                handicap: 0,
            },
        );
        table.run(20 * MS);
        assert_eq!(table.holder(), Some(1));
        for id in 2..=3 {
            table.step(
                id,
                Input::Fit {
                    fit: true,
                    handicap: 0,
                },
            );
        }
        table.run(2 * T);
        assert_eq!(table.holder(), Some(1));
        table
    }

    pub(super) fn seat(&mut self, id: u64) -> &mut Seat {
        self.hosts
            .iter_mut()
            .find(|seat| seat.id == id)
            .expect("a host")
    }

    pub(super) fn start(&mut self, id: u64) {
        let (now, rules) = (self.now, self.rules);
        let mut effects = Effects::new();
        let seat = self.seat(id);
        let identity = Identity {
            host: id,
            incarnation: id * 1_000 + now,
            seed: id,
        };
        seat.lease = Some(Lease::start_with(
            identity,
            now,
            Some(&seat.record),
            &mut effects,
            rules,
        ));
        self.carry_out(id, &effects, 0);
    }

    pub(super) fn step(&mut self, id: u64, input: Input) {
        let now = self.now;
        let mut effects = Effects::new();
        let Some(lease) = &mut self.seat(id).lease else {
            return;
        };
        lease.step(now, input, &mut effects);
        let from = if let Input::Datagram { sender, .. } = input {
            sender
        } else {
            0
        };
        self.carry_out(id, &effects, from);
    }

    pub(super) fn carry_out(&mut self, id: u64, effects: &Effects, from: u64) {
        for effect in effects.iter() {
            let (now, delay) = (self.now, self.delay);
            let seat = self.seat(id);
            seat.asked.push((now, effect));
            match effect {
                Effect::CloseGate => seat.open_until = 0,
                Effect::OpenGate(until) => seat.open_until = until,
                Effect::Record => seat.record = seat.lease.as_ref().expect("runs").record(),
                Effect::Send { to, message } => {
                    self.flying.push_back((now + delay, id, to, message));
                }
                Effect::Answer(message) => self.flying.push_back((now + delay, id, from, message)),
                Effect::RemoveAddress | Effect::AddAddress | Effect::Announce => {}
            }
        }
    }

    pub(super) fn run(&mut self, duration: u64) {
        let end = self.now + duration;
        loop {
            let arrival = self.flying.front().map_or(u64::MAX, |flying| flying.0);
            let wakes = self
                .hosts
                .iter()
                .filter_map(|seat| seat.lease.as_ref().map(|l| (l.wake(), seat.id)));
            let (wake, sleeper) = wakes.min().unwrap_or((u64::MAX, 0));
            let next = arrival.min(wake).max(self.now);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            if arrival <= wake {
                let (_, from, to, message) = self.flying.pop_front().expect("one flies");
                if !self.cut.contains(&(from, to)) {
                    let incarnation = match message {
                        Message::Prepare { ballot, .. } | Message::Propose { ballot, .. } => {
                            ballot.incarnation
                        }
                        _ => 1,
                    };
                    self.step(
                        to,
                        Input::Datagram {
                            sender: from,
                            incarnation,
                            message,
                        },
                    );
                }
            } else {
                self.step(sleeper, Input::Tick);
            }
            let open = self
                .hosts
                .iter()
                .filter(|seat| seat.open_until > self.now)
                .count();
            assert!(open <= 1, "{open} gates open at {}", self.now);
        }
    }

    pub(super) fn holder(&self) -> Option<u64> {
        self.hosts
            .iter()
            .find(|seat| seat.open_until > self.now)
            .map(|seat| seat.id)
    }

    /// Runs until somebody other than `gone` holds; gives who, and how long it took.
    pub(super) fn takeover_from(&mut self, gone: u64) -> (u64, u64) {
        let start = self.now;
        while self.now < start + 20 * T {
            self.run(MS / 2);
            if let Some(holder) = self.holder().filter(|holder| *holder != gone) {
                return (holder, self.now - start);
            }
        }
        panic!("nobody took over");
    }

    pub(super) fn asked_since(&self, id: u64, since: u64) -> Vec<Effect> {
        let seat = self
            .hosts
            .iter()
            .find(|seat| seat.id == id)
            .expect("a host");
        seat.asked
            .iter()
            .filter(|(at, _)| *at >= since)
            .map(|(_, effect)| *effect)
            .collect()
    }

    pub(super) fn ballot_of(&self, id: u64) -> Ballot {
        self.hosts
            .iter()
            .find(|seat| seat.id == id)
            .map(|seat| seat.record.ballot)
            .expect("a host")
    }
}
