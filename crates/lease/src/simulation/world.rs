//! The simulated world: the hosts, what happens to them in the order of time, and the check that no two answer for the
//! address.

use super::host::{Arrival, Host, Khad};
use super::leader::Leader;
use super::network::Network;
use super::queue::Queue;
use super::scenario::{Fault, Scenario};
use super::trace::Milliseconds;
use super::verdict::Violation;
use crate::random::Random;
use crate::timing::{GRACE, MS, SILENCE};
use crate::{Configuration, Effect, Effects, Member, Record, Timing};

#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Deliver {
        to: usize,
        arrival: Arrival,
    },
    Start {
        host: usize,
    },
    Resume {
        host: usize,
        generation: u64,
    },
    Wake {
        host: usize,
    },
    /// `khad` feeds what it knows.
    Feed {
        host: usize,
    },
    /// Raft tells `khad` what is committed.
    Learn {
        host: usize,
    },
    /// `khad` tries a linearizable read.
    Confirm {
        host: usize,
    },
    KhadStart {
        host: usize,
    },
    /// `khad` tells the leader of a term what `khavip` published.
    Report {
        host: usize,
    },
    Reported {
        host: usize,
        term: u64,
        fence: u64,
        would_answer: bool,
    },
    /// The leader looks at the membership.
    Lead,
    ReleaseForDead {
        host: usize,
    },
    Fault,
}

pub(super) struct World {
    pub(super) now: u64,
    pub(super) random: Random,
    /// For what the kernel refuses: of its own, so that a seed's other draws stay what they are.
    pub(super) misfortune: Random,
    pub(super) scenario: Scenario,
    pub(super) faults: Vec<(Fault, u64)>,
    pub(super) hosts: Vec<Host>,
    pub(super) network: Network,
    /// What Raft has committed: configurations by epoch, and the lease time.
    pub(super) epochs: Vec<Configuration>,
    pub(super) timing: Timing,
    pub(super) leader: Leader,
    pub(super) effects: Box<Effects>,
    pub(super) script: Vec<Effect>,
    pub(super) queue: Queue,
    pub(super) faulty: bool,
    pub(super) violation: Option<Violation>,
    last_holder: Option<usize>,
    pub(super) takeovers: u64,
    pub(super) trace: Option<Vec<String>>,
}

impl World {
    pub(super) fn new(seed: u64, scenario: Scenario, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let count = *random.pick(scenario.members);
        let timing = Timing::from_lease_ms(*random.pick(scenario.leases_ms)).expect("valid");
        let changes = random.percent(scenario.membership_percent);
        let spare = if changes {
            random.below(scenario.spare + 1)
        } else {
            0
        };
        let witness = count >= 3 && random.percent(25);
        let formed = random.percent(scenario.formed_percent);
        let members: Vec<_> = (1..=count)
            .map(|id| Member {
                id,
                preference: 0,
                proposer: !(witness && id == count),
            })
            .collect();
        let first = Configuration::new(1, &members).expect("valid");
        let khad = Khad {
            up: true,
            lags: false,
            enrolled: true,
            confirmed: formed,
            epoch: 1,
            timing,
        };
        let mut hosts: Vec<_> = (1..=count + spare)
            .map(|id| {
                let rate_error_ppm = *random.pick(&[-10_000, 0, 10_000]);
                Host::new(id, rate_error_ppm, 1 + random.below(1_000_000 * MS), khad)
            })
            .collect();
        for host in &mut hosts {
            host.witness = witness && host.id == count;
            if formed {
                host.tmpfs.write(&Record {
                    ready: true,
                    fence: 1,
                    configuration: first,
                    ..Record::default()
                });
            }
        }
        let mut faults = scenario.faults.to_vec();
        if scenario.swarm {
            faults.retain(|_| random.percent(50));
        }
        Self {
            now: 0,
            network: Network::new(3 * timing.lease() / 2),
            leader: Leader::new(changes, hosts.len()),
            faults,
            hosts,
            misfortune: Random::new(!seed),
            random,
            scenario,
            epochs: vec![first],
            timing,
            effects: Box::new(Effects::new()),
            script: Vec::new(),
            queue: Queue::default(),
            faulty: true,
            violation: None,
            last_holder: None,
            takeovers: 0,
            trace: traced.then(Vec::new),
        }
    }

    /// Everything starts, and things begin to go wrong.
    pub(super) fn begin(&mut self) {
        for host in 0..self.hosts.len() {
            self.schedule(0, Event::Start { host });
            if !self.hosts[host].khad.confirmed {
                let after = self.random.below(300 * MS);
                self.schedule(after, Event::Confirm { host });
            }
        }
        if self.leader.changes {
            self.schedule(GRACE, Event::Lead);
            for host in 0..self.hosts.len() {
                self.schedule(0, Event::Report { host });
            }
        }
        let formed = self.hosts[0].khad.confirmed;
        let quiet = if formed { 0 } else { SILENCE };
        let first_fault = self.random.below(quiet + 3 * self.timing.lease());
        self.schedule(first_fault, Event::Fault);
    }

    pub(super) fn configuration(&self) -> Configuration {
        *self
            .epochs
            .last()
            .expect("the first is there from the start")
    }

    pub(super) fn schedule(&mut self, after: u64, event: Event) {
        self.queue.push(self.now.saturating_add(after), event);
    }

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>14} {}", Milliseconds(now), text()));
        }
    }

    pub(super) fn pick_host(&mut self) -> usize {
        let count = self.hosts.len() as u64;
        usize::try_from(self.random.below(count)).unwrap_or(0)
    }

    pub(super) fn place_of(&self, id: u64) -> Option<usize> {
        // Host n has place n - 1.
        let place = usize::try_from(id).ok()?.checked_sub(1)?;
        (place < self.hosts.len()).then_some(place)
    }

    pub(super) fn run_until(&mut self, end: u64) -> Result<(), Violation> {
        loop {
            let (timer, sleeper) = self
                .hosts
                .iter()
                .enumerate()
                .map(|(place, host)| (host.timer, place))
                .min()
                .unwrap_or((u64::MAX, 0));
            let next = self.queue.next_at();
            if next.min(timer) > end {
                self.now = end;
                return Ok(());
            }
            if timer < next {
                self.now = self.now.max(timer);
                self.attend(sleeper);
            } else if let Some(event) = self.queue.pop() {
                self.now = next;
                self.happen(event);
            }
            if let Some(violation) = self.violation.take() {
                self.note(|| violation.to_string());
                return Err(violation);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver { to, arrival } => self.deliver(to, arrival),
            Event::Start { host } => self.start(host),
            Event::Resume { host, generation } => {
                if generation == self.hosts[host].generation {
                    self.resume(host);
                }
            }
            Event::Wake { host } => self.wake(host),
            Event::Feed { host } => self.feed(host),
            Event::Learn { host } => self.learn(host),
            Event::Confirm { host } => self.confirm(host),
            Event::KhadStart { host } => self.khad_start(host),
            Event::Report { host } => self.report(host),
            Event::Reported {
                host,
                term,
                fence,
                would_answer,
            } => self.reported(host, term, fence, would_answer),
            Event::Lead => self.lead(),
            Event::ReleaseForDead { host } => self.release_for_dead(host),
            Event::Fault if self.faulty => {
                self.fault();
                let gap = self.timing.lease() * self.scenario.gap_percent / 50;
                let next = self.random.below(gap);
                self.schedule(next, Event::Fault);
            }
            Event::Fault => {}
        }
    }

    /// Whether this host answers for the address at this moment.
    pub(super) fn answers(&self, host: usize) -> bool {
        let host = &self.hosts[host];
        if self.scenario.control == super::control::Control::NoGate {
            host.address && !host.asleep
        } else {
            host.gate_open(self.now)
        }
    }

    /// Comes after everything that can make a host answer; nothing but time and closing makes it stop.
    pub(super) fn check(&mut self, host: usize) {
        if !self.answers(host) {
            return;
        }
        let other = (0..self.hosts.len()).find(|&other| other != host && self.answers(other));
        if let Some(other) = other {
            self.violation = Some(Violation::TwoHolders {
                at: Milliseconds(self.now),
                hosts: (self.hosts[other].id, self.hosts[host].id),
            });
        }
        if self.last_holder != Some(host) {
            self.last_holder = Some(host);
            self.takeovers += 1;
            let id = self.hosts[host].id;
            self.note(|| format!("*** host {id} holds"));
        }
    }

    pub(super) fn holders(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.hosts.len()).filter(|&host| self.answers(host))
    }
}
