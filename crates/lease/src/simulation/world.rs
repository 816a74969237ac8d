//! The simulated world: one queue of events, the hosts, and the check that no two gates are open.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::host::Host;
use super::network::Network;
use crate::random::Random;
use crate::timing::{MS, SILENCE};
use crate::{Configuration, Input, Member, Message, Timing};

/// What is left out, to see whether the simulation notices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Control {
    None,
    Rule(&'static str),
    RecordAfterAnswer,
    ReleaseBeforeClose,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Start {
        host: usize,
    },
    Feed {
        host: usize,
        generation: u64,
    },
    Wake {
        host: usize,
        generation: u64,
        at: u64,
    },
    Resume {
        host: usize,
        generation: u64,
    },
    Deliver {
        from: usize,
        to: usize,
        incarnation: u64,
        message: Message,
    },
    ReleaseForDead {
        host: usize,
    },
    Fault,
    EndFaults,
}

/// What must not be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Violation {
    TwoGates { at: u64, hosts: (u64, u64) },
    TwoAddresses { at: u64, hosts: (u64, u64) },
    NoHolder { open: usize },
    LostWithoutFault,
}

impl Violation {
    pub(super) fn two_holders(&self) -> bool {
        matches!(self, Self::TwoGates { .. } | Self::TwoAddresses { .. })
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

pub(super) struct World {
    pub(super) now: u64,
    pub(super) random: Random,
    pub(super) hosts: Vec<Host>,
    pub(super) network: Network,
    pub(super) timing: Timing,
    pub(super) configuration: Configuration,
    pub(super) control: Control,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    next_event: u64,
    pub(super) faulty: bool,
    violation: Option<Violation>,
    last_holder: Option<usize>,
    takeovers: u64,
    pub(super) trace: Option<Vec<String>>,
}

impl World {
    pub(super) fn new(seed: u64, control: Control, traced: bool) -> Self {
        let mut random = Random::new(seed);
        let count = [1, 2, 3, 3, 3, 3, 3, 5][usize::try_from(random.below(8)).unwrap_or(0)];
        let lease_ms = [60, 60, 250, 2_000][usize::try_from(random.below(4)).unwrap_or(0)];
        let witness = count >= 3 && random.below(4) == 0;
        let members: Vec<_> = (1..=count)
            .map(|id| Member {
                id,
                preference: 0,
                proposer: !(witness && id == count),
            })
            .collect();
        let hosts: Vec<_> = (1..=count)
            .map(|id| {
                Host::new(
                    id,
                    [-10_000, 0, 10_000][usize::try_from(random.below(3)).unwrap_or(0)],
                )
            })
            .collect();
        Self {
            now: 0,
            random,
            network: Network::new(hosts.len()),
            hosts,
            timing: Timing::from_lease_ms(lease_ms).expect("valid"),
            configuration: Configuration::new(1, &members).expect("valid"),
            control,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            faulty: true,
            violation: None,
            last_holder: None,
            takeovers: 0,
            trace: traced.then(Vec::new),
        }
    }

    /// Faults for sixty lease times after the first silence, then peace, then a holder that stays.
    pub(super) fn run(&mut self) -> Result<(), Violation> {
        let lease = self.timing.lease();
        for host in 0..self.hosts.len() {
            self.schedule(0, Event::Start { host });
        }
        let first_fault = SILENCE + lease;
        self.schedule(first_fault, Event::Fault);
        let peace = first_fault + 60 * lease;
        self.schedule(peace, Event::EndFaults);
        self.run_until(peace + 2 * SILENCE + 6 * lease + 1_500 * MS)?;
        let open = || (0..self.hosts.len()).filter(|&host| self.hosts[host].gate_open(self.now));
        let (count, holder) = (open().count(), open().next());
        if count != 1 {
            return Err(Violation::NoHolder { open: count });
        }
        let takeovers = self.takeovers;
        self.run_until(self.now + 10 * lease)?;
        let stays = holder.is_some_and(|holder| self.hosts[holder].gate_open(self.now));
        if stays && takeovers == self.takeovers {
            Ok(())
        } else {
            Err(Violation::LostWithoutFault)
        }
    }

    pub(super) fn trace(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }

    pub(super) fn takeovers(&self) -> u64 {
        self.takeovers
    }

    pub(super) fn schedule(&mut self, after: u64, event: Event) {
        self.next_event += 1;
        self.events.insert(self.next_event, event);
        self.queue
            .push(Reverse((self.now.saturating_add(after), self.next_event)));
    }

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>12.3} ms  {}", Duration(now), text()));
        }
    }

    pub(super) fn draw(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).unwrap_or(0)
    }

    pub(super) fn pick_host(&mut self) -> usize {
        self.draw(self.hosts.len())
    }

    fn run_until(&mut self, end: u64) -> Result<(), Violation> {
        while let Some(&Reverse((at, key))) = self.queue.peek() {
            if at > end {
                break;
            }
            self.queue.pop();
            self.now = at;
            if let Some(event) = self.events.remove(&key) {
                self.happen(event);
            }
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
        }
        self.now = end;
        Ok(())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start { host } => self.start(host),
            Event::Feed { host, generation } if generation == self.hosts[host].generation => {
                let (configuration, timing) = (self.configuration, self.timing);
                self.input(
                    host,
                    Input::Feed {
                        configuration,
                        timing,
                        confirmed: true,
                    },
                    None,
                );
                let fit = self.hosts[host].fit;
                self.input(host, Input::Fit { fit, handicap: 0 }, None);
            }
            Event::Wake {
                host,
                generation,
                at,
            } if generation == self.hosts[host].generation => {
                if self.hosts[host]
                    .process
                    .as_ref()
                    .is_some_and(|process| process.wake == at)
                {
                    self.input(host, Input::Tick, None);
                }
            }
            Event::Resume { host, generation } if generation == self.hosts[host].generation => {
                self.resume(host);
            }
            Event::Deliver {
                from,
                to,
                incarnation,
                message,
            } => {
                let sender = self.hosts[from].id;
                self.input(
                    to,
                    Input::Datagram {
                        sender,
                        incarnation,
                        message,
                    },
                    Some(from),
                );
            }
            Event::ReleaseForDead { host } => self.release_for_dead(host),
            Event::Fault if self.faulty => {
                self.fault();
                let next = self.random.below(2 * self.timing.lease());
                self.schedule(next, Event::Fault);
            }
            Event::EndFaults => {
                self.faulty = false;
                self.end_faults();
            }
            Event::Feed { .. } | Event::Wake { .. } | Event::Resume { .. } | Event::Fault => {}
        }
    }

    pub(super) fn check_gates(&mut self, host: usize) {
        if !self.hosts[host].gate_open(self.now) {
            return;
        }
        let other = (0..self.hosts.len())
            .find(|&other| other != host && self.hosts[other].gate_open(self.now));
        if let Some(other) = other {
            let hosts = (self.hosts[other].id, self.hosts[host].id);
            self.violation = Some(Violation::TwoGates {
                at: self.now,
                hosts,
            });
        }
        if self.last_holder != Some(host) {
            self.last_holder = Some(host);
            self.takeovers += 1;
            self.note(|| format!("{host} holds"));
        }
    }

    pub(super) fn check_addresses(&mut self, host: usize) {
        let other =
            (0..self.hosts.len()).find(|&other| other != host && self.hosts[other].answers());
        if let Some(other) = other {
            let hosts = (self.hosts[other].id, self.hosts[host].id);
            self.violation = Some(Violation::TwoAddresses {
                at: self.now,
                hosts,
            });
        }
    }
}

pub(super) struct Duration(pub(super) u64);

impl std::fmt::Display for Duration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}", self.0 / MS, self.0 % MS)
    }
}
