//! What a simulated process does: it steps, and carries effects out one by one, so that it can stall or die in between.

use std::collections::VecDeque;

use super::host::Process;
use super::world::{Control, Duration, Event, World};
use crate::rules::Rules;
use crate::timing::{MS, SILENCE};
use crate::{Effect, Effects, Identity, Input, Lease, Message};

impl World {
    pub(super) fn start(&mut self, host: usize) {
        if self.hosts[host].process.is_some() {
            return;
        }
        let (incarnation, seed) = (self.random.next() | 1, self.random.next());
        let rules = if let Control::Rule(off) = self.control {
            Rules::without(off)
        } else {
            Rules::all()
        };
        let mut effects = Effects::new();
        let (now, machine) = (self.now, &mut self.hosts[host]);
        let identity = Identity {
            host: machine.id,
            incarnation,
            seed,
        };
        let lease = Lease::start_with(
            identity,
            machine.local(now),
            machine.record.as_ref(),
            &mut effects,
            rules,
        );
        machine.generation += 1;
        let generation = machine.generation;
        machine.process = Some(Process {
            lease,
            stalled: false,
            undone: VecDeque::new(),
            inbox: VecDeque::new(),
            wake: u64::MAX,
        });
        self.note(|| format!("start {host}, generation {generation}"));
        self.carry_out(host, &effects, None);
        let after = self.random.below(MS * 100);
        self.schedule(after, Event::Feed { host, generation });
    }

    /// One step of a host's process, unless it stands still.
    pub(super) fn input(&mut self, host: usize, input: Input, from: Option<usize>) {
        let now = self.hosts[host].local(self.now);
        let Some(process) = self.hosts[host].process.as_mut() else {
            return;
        };
        if process.stalled {
            process.inbox.push_back((input, from));
            return;
        }
        let mut effects = Effects::new();
        process.lease.step(now, input, &mut effects);
        if let (Some(trace), false) = (
            &mut self.trace,
            input == Input::Tick && effects.iter().next().is_none(),
        ) {
            trace.push(format!(
                "{:>12.3} ms  {host}: {input:?}",
                Duration(self.now)
            ));
        }
        self.carry_out(host, &effects, from);
        self.sleep(host);
    }

    pub(super) fn carry_out(&mut self, host: usize, effects: &Effects, from: Option<usize>) {
        let mut effects: VecDeque<_> = effects.iter().map(|effect| (effect, from)).collect();
        let seen = |effect: &Effect| matches!(effect, Effect::Send { .. } | Effect::Answer(_));
        let closing = |effect: &Effect| matches!(effect, Effect::CloseGate | Effect::RemoveAddress);
        let last = |effect: &Effect| match self.control {
            Control::RecordAfterAnswer => !seen(effect),
            Control::ReleaseBeforeClose => closing(effect),
            Control::None | Control::Rule(_) => false,
        };
        effects
            .make_contiguous()
            .sort_by_key(|(effect, _)| last(effect));
        self.go_on(host, effects);
    }

    /// Carries effects out one by one; between any two the process may stall or die.
    pub(super) fn go_on(&mut self, host: usize, mut effects: VecDeque<(Effect, Option<usize>)>) {
        while let Some((effect, from)) = effects.pop_front() {
            if self.faulty && self.now > SILENCE {
                let lease = self.timing.lease();
                match self.random.below(3_000) {
                    0 | 1 => {
                        effects.push_front((effect, from));
                        if let Some(process) = self.hosts[host].process.as_mut() {
                            process.undone = effects;
                        }
                        let duration = self.random.below(2 * lease);
                        return self.stall(host, duration);
                    }
                    2 => return self.kill(host),
                    _ => {}
                }
            }
            self.effect(host, effect, from);
        }
    }

    pub(super) fn resume(&mut self, host: usize) {
        let Some(process) = self.hosts[host].process.as_mut() else {
            return;
        };
        process.stalled = false;
        let undone = std::mem::take(&mut process.undone);
        let inbox = std::mem::take(&mut process.inbox);
        self.note(|| format!("{host} goes on"));
        self.go_on(host, undone);
        self.input(host, Input::Tick, None);
        for (input, from) in inbox {
            self.input(host, input, from);
        }
    }

    pub(super) fn effect(&mut self, host: usize, effect: Effect, from: Option<usize>) {
        if self.trace.is_some() {
            self.note(|| format!("    {host}: {effect:?}"));
        }
        let now = self.now;
        let machine = &mut self.hosts[host];
        let Some(process) = &machine.process else {
            return;
        };
        let incarnation = process.lease.incarnation();
        match effect {
            Effect::CloseGate => machine.gate_until = 0,
            Effect::RemoveAddress => machine.address = false,
            Effect::Record => machine.record = Some(process.lease.record()),
            Effect::OpenGate(until) => {
                machine.gate_until = until;
                self.check_gates(host);
            }
            Effect::AddAddress => {
                if machine.gate_open(now) {
                    machine.address = true;
                    self.check_addresses(host);
                }
            }
            Effect::Announce => {}
            Effect::Send { to, message } => {
                if let Some(to) = self.hosts.iter().position(|host| host.id == to) {
                    self.transmit(host, to, incarnation, message);
                }
            }
            Effect::Answer(message) => {
                if let Some(to) = from {
                    self.transmit(host, to, incarnation, message);
                }
            }
        }
    }

    pub(super) fn transmit(&mut self, from: usize, to: usize, incarnation: u64, message: Message) {
        let deliveries = self
            .network
            .deliveries(&mut self.random, from, to, self.timing.lease());
        for delay in deliveries.into_iter().flatten() {
            self.schedule(
                delay,
                Event::Deliver {
                    from,
                    to,
                    incarnation,
                    message,
                },
            );
        }
    }

    /// The timer; it is up to a millisecond late while things go wrong.
    pub(super) fn sleep(&mut self, host: usize) {
        let late = self.random.below(if self.faulty { MS } else { MS / 10 });
        let machine = &mut self.hosts[host];
        let Some(process) = machine.process.as_mut() else {
            return;
        };
        let wake = process.lease.wake();
        if wake == process.wake {
            return;
        }
        process.wake = wake;
        if wake < u64::MAX {
            let at = machine.real(wake).max(self.now);
            let generation = machine.generation;
            self.schedule(
                at - self.now + late,
                Event::Wake {
                    host,
                    generation,
                    at: wake,
                },
            );
        }
    }
}
