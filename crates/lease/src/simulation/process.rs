//! What a simulated process does: the lease thread's loop. It can stall or die between any two instructions: between
//! reading the clock and using it, and between any two effects.

use std::collections::VecDeque;

use super::control::Control;
use super::host::{Arrival, Process};
use super::trace;
use super::world::{Event, World};
use crate::timing::MS;
use crate::{Effect, Identity, Input, Lease, Message, Replay, SLOT_LEN, has_slept};

/// Datagrams that a socket keeps for a process that stands still.
const SOCKET: usize = 256;

/// Marks the deadline of a relative gate as "so much longer from when it is applied".
const RELATIVE: u64 = 1 << 63;

/// How often a gate cannot be opened, in a million.
const OPENING_FAILS_PPM: u64 = 200;

/// A machine's process between two instructions.
enum Interruption {
    Stall,
    Kill,
}

impl World {
    pub(super) fn start(&mut self, host: usize) {
        if self.hosts[host].process.is_some() {
            return;
        }
        if self.hosts[host].asleep {
            return self.schedule(MS, Event::Start { host });
        }
        let (incarnation, seed) = (self.random.next() | 1, self.random.next());
        let rules = self.scenario.control.rules(self.timing.lease());
        let machine = &mut self.hosts[host];
        let (id, now) = (machine.id, machine.local(self.now));
        let identity = Identity {
            host: id,
            incarnation,
            seed,
        };
        let record = machine.tmpfs.open(machine.slept);
        let jumped = self.scenario.control != Control::SleepBetweenProcesses
            && has_slept(machine.tmpfs.slept(), machine.slept);
        let lease = Lease::start_with(identity, now, record.as_ref(), &mut self.effects, rules);
        machine.generation += 1;
        machine.process = Some(Process {
            lease,
            replay: Replay::default(),
            counter: machine.generation << 32,
            stalled: false,
            unclosed_until: 0,
            read: None,
            undone: VecDeque::new(),
            socket: VecDeque::new(),
            jumped,
            fed: None,
            fit: None,
            hand_over: None,
            published: (0, false),
        });
        let found = if record.is_some() {
            "its record"
        } else {
            "no record"
        };
        self.note(|| format!("{id} starts with {found}"));
        self.carry_out(host, None);
        self.attend(host);
        let reach = if self.scenario.prompt { MS } else { 100 * MS };
        let after = self.random.below(reach);
        self.schedule(after, Event::Feed { host });
    }

    pub(super) fn deliver(&mut self, to: usize, arrival: Arrival) {
        if self.hosts[to].asleep {
            return;
        }
        let Some(process) = &mut self.hosts[to].process else {
            return;
        };
        if process.socket.len() < SOCKET {
            process.socket.push_back(arrival);
            self.attend(to);
        }
    }

    /// Goes on with what is there to be done, in the thread's order, until nothing is left or something comes between.
    pub(super) fn attend(&mut self, host: usize) {
        let limit = self.now;
        let id = self.hosts[host].id;
        loop {
            let machine = &mut self.hosts[host];
            let Some(process) = &mut machine.process else {
                machine.timer = u64::MAX;
                return;
            };
            if machine.asleep || process.stalled {
                machine.timer = u64::MAX;
                return;
            }
            if !process.undone.is_empty() {
                self.go_on(host);
                continue;
            }
            if let Some((read, input, from)) = process.read.take() {
                self.step(host, read, input, from);
                continue;
            }
            let (input, from) = if std::mem::take(&mut process.jumped) {
                machine.tmpfs.set_slept(machine.slept);
                (Input::ClockJump, None)
            } else if machine.timer <= limit {
                machine.timer = u64::MAX;
                (Input::Tick, None)
            } else if let Some((datagram, from)) = process.socket.pop_front() {
                // Before the first feed the key is not known, and nothing is believed.
                let (sender, incarnation) = (datagram.sender, datagram.incarnation);
                if sender == id || !process.replay.is_new(sender, incarnation, datagram.counter) {
                    continue;
                }
                let message = datagram.message;
                let input = Input::Datagram {
                    sender,
                    incarnation,
                    message,
                };
                (input, Some(from))
            } else if let Some((configuration, timing, confirmed)) = process.fed.take() {
                let input = Input::Feed {
                    configuration,
                    timing,
                    confirmed,
                };
                (input, None)
            } else if let Some(fit) = process.fit.take() {
                (Input::Fit { fit, handicap: 0 }, None)
            } else if let Some(successor) = process.hand_over.take() {
                let successor = (successor != 0).then_some(successor);
                (Input::HandOver { successor }, None)
            } else {
                break;
            };
            let read = machine.local(self.now);
            match self.interruption() {
                None => self.step(host, read, input, from),
                Some(Interruption::Kill) => return self.kill(host),
                Some(Interruption::Stall) => {
                    if let Some(process) = &mut self.hosts[host].process {
                        process.read = Some((read, input, from));
                    }
                    return self.stall(host);
                }
            }
        }
        self.sleep(host);
    }

    fn interruption(&mut self) -> Option<Interruption> {
        if !self.faulty {
            return None;
        }
        let draw = self.random.below(1_000_000);
        if draw < self.scenario.stall_ppm {
            Some(Interruption::Stall)
        } else if draw < self.scenario.stall_ppm + self.scenario.kill_ppm {
            Some(Interruption::Kill)
        } else {
            None
        }
    }

    /// One step with the time that was read for it.
    fn step(&mut self, host: usize, read: u64, input: Input, from: Option<usize>) {
        let Self { hosts, effects, .. } = self;
        let Some(process) = &mut hosts[host].process else {
            return;
        };
        process.lease.step(read, input, effects);
        if self.trace.is_some() {
            let idle = input == Input::Tick && self.effects.iter().next().is_none();
            if !idle {
                let id = self.hosts[host].id;
                self.note(|| format!("{id} {}", trace::input(&input)));
            }
        }
        self.carry_out(host, from);
    }

    fn carry_out(&mut self, host: usize, from: Option<usize>) {
        self.script.clear();
        self.script.extend(self.effects.iter());
        match self.scenario.control {
            Control::RecordAfterAnswer => {
                self.script.sort_by_key(|e| matches!(e, Effect::Record));
            }
            Control::ReleaseBeforeClose => self
                .script
                .sort_by_key(|e| matches!(e, Effect::CloseGate | Effect::RemoveAddress)),
            _ => {}
        }
        let script = std::mem::take(&mut self.script);
        let mut failed = false;
        for (place, &effect) in script.iter().enumerate() {
            match self.interruption() {
                None => {}
                Some(Interruption::Stall) => {
                    if let Some(process) = &mut self.hosts[host].process {
                        let rest = script[place..].iter().map(|&effect| (effect, from));
                        process.undone.extend(rest);
                    }
                    self.half_done(host, effect);
                    self.stall(host);
                    break;
                }
                Some(Interruption::Kill) => {
                    self.tear(host, effect);
                    self.kill(host);
                    break;
                }
            }
            if !self.effect(host, effect, from) {
                failed = true;
                break;
            }
        }
        self.script = script;
        self.publish(host);
        if failed {
            self.opening_failed(host);
        }
    }

    /// What a stall left undone.
    fn go_on(&mut self, host: usize) {
        loop {
            let Some(process) = &mut self.hosts[host].process else {
                return;
            };
            let Some((effect, from)) = process.undone.pop_front() else {
                break;
            };
            match self.interruption() {
                None => {}
                Some(Interruption::Kill) => {
                    self.tear(host, effect);
                    return self.kill(host);
                }
                Some(Interruption::Stall) => {
                    if let Some(process) = &mut self.hosts[host].process {
                        process.undone.push_front((effect, from));
                    }
                    return self.stall(host);
                }
            }
            if !self.effect(host, effect, from) {
                return self.opening_failed(host);
            }
        }
        self.publish(host);
    }

    /// What comes after a failed opening is left out.
    fn opening_failed(&mut self, host: usize) {
        let machine = &mut self.hosts[host];
        let now = machine.local(self.now);
        if let Some(process) = &mut machine.process {
            process.undone.clear();
            self.step(host, now, Input::OpenFailed, None);
        }
    }

    fn publish(&mut self, host: usize) {
        let machine = &mut self.hosts[host];
        let now = machine.local(self.now);
        if let Some(process) = &mut machine.process
            && process.undone.is_empty()
        {
            let view = process.lease.view(now);
            process.published = (view.fence, view.ready && now >= view.silent_until);
        }
    }

    /// A relative gate: how long was computed, and is used after the stall.
    fn half_done(&mut self, host: usize, effect: Effect) {
        let machine = &mut self.hosts[host];
        let now = machine.local(self.now);
        if let (Control::RelativeGate, Effect::OpenGate(until), Some(process)) =
            (self.scenario.control, effect, &mut machine.process)
        {
            let left = until.saturating_sub(now);
            if let Some(first) = process.undone.front_mut() {
                first.0 = Effect::OpenGate(left | RELATIVE);
            }
        }
    }

    /// A process killed while it writes its record leaves a part of it.
    fn tear(&mut self, host: usize, effect: Effect) {
        let length = usize::try_from(self.random.below(SLOT_LEN as u64)).unwrap_or(0);
        let machine = &mut self.hosts[host];
        if let (Effect::Record, Some(process)) = (effect, &machine.process) {
            machine.tmpfs.tear(&process.lease.record(), length);
        }
    }

    /// False if the gate could not be opened.
    fn effect(&mut self, host: usize, effect: Effect, from: Option<usize>) -> bool {
        let id = self.hosts[host].id;
        if self.trace.is_some() {
            self.note(|| format!("    {id} {}", trace::effect(&effect)));
        }
        let stuck = self.faulty && self.misfortune.below(1_000_000) < self.scenario.stuck_ppm;
        let answers = self.scenario.control == Control::AnswerWhileOpen;
        let opening = matches!(effect, Effect::OpenGate(_)) && self.faulty;
        if opening && self.random.below(1_000_000) < OPENING_FAILS_PPM {
            return false;
        }
        let machine = &mut self.hosts[host];
        let local = machine.local(self.now);
        let Some(process) = &mut machine.process else {
            return true;
        };
        match effect {
            Effect::CloseGate if stuck => process.unclosed_until = machine.gate_until,
            Effect::CloseGate => (machine.gate_until, process.unclosed_until) = (0, 0),
            Effect::RemoveAddress => machine.address = false,
            Effect::Record => machine.tmpfs.write(&process.lease.record()),
            Effect::OpenGate(until) => {
                process.unclosed_until = 0;
                machine.gate_until = if until & RELATIVE == 0 {
                    until
                } else {
                    local + (until & !RELATIVE)
                };
                self.check(host);
            }
            Effect::AddAddress => {
                if local < machine.gate_until {
                    machine.address = true;
                    self.check(host);
                }
            }
            Effect::Announce => {}
            Effect::Send {
                message: Message::Release { .. },
                ..
            } if local < process.unclosed_until => {}
            Effect::Answer(_) if local < process.unclosed_until && !answers => {}
            Effect::Send { to, message } => {
                let place = self.place_of(to);
                self.send(host, place, message);
            }
            Effect::Answer(message) => self.send(host, from, message),
        }
        true
    }

    fn send(&mut self, host: usize, to: Option<usize>, message: Message) {
        if let (Some(to), Some(process)) = (to, &mut self.hosts[host].process) {
            process.counter += 1;
            let signature = (process.lease.incarnation(), process.counter);
            self.transmit(host, to, signature, message);
        }
    }

    /// Sets the timer; it rings up to a millisecond late while things go wrong.
    fn sleep(&mut self, host: usize) {
        let late = self.random.below(if self.faulty { MS } else { MS / 10 });
        let machine = &mut self.hosts[host];
        let Some(process) = &machine.process else {
            return;
        };
        let wake = process.lease.wake();
        machine.timer = if wake == u64::MAX {
            u64::MAX
        } else {
            machine.real(wake).max(self.now) + late
        };
    }
}
