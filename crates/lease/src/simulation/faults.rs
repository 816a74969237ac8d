//! What goes wrong, drawn at random.

use super::world::{Event, World};
use crate::timing::MS;
use crate::{Input, Message, Timing};

impl World {
    /// Something goes wrong, or right again.
    pub(super) fn fault(&mut self) {
        let host = self.pick_host();
        let lease = self.timing.lease();
        match self.random.below(17) {
            0 | 1 => self.kill(host),
            2 => {
                self.note(|| format!("reboot {host}"));
                let after = 2 * MS + self.random.below(lease);
                self.hosts[host].reboot(self.now);
                self.schedule(after, Event::Start { host });
            }
            3..=5 => {
                let duration = self.random.below(2 * lease);
                self.stall(host, duration);
            }
            6 => {
                for other in 0..self.hosts.len() {
                    self.network.cut(host, other);
                }
                self.note(|| format!("{host} hears but is not heard"));
            }
            7 => {
                for other in 0..self.hosts.len() {
                    self.network.cut(other, host);
                }
                self.note(|| format!("{host} is heard but does not hear"));
            }
            8 => {
                let other = self.pick_host();
                self.network.cut(host, other);
                self.note(|| format!("cut {host} to {other}"));
            }
            9 | 10 => self.network.heal(),
            11 => self.network.loss_percent = self.random.below(40),
            12 => self.network.late_percent = [0, 5, 30, 80][self.draw(4)],
            13 | 14 => {
                let successor = (self.random.below(2) == 0).then_some(self.hosts[host].id);
                let holder =
                    (0..self.hosts.len()).find(|&host| self.hosts[host].gate_open(self.now));
                self.note(|| format!("hand over from {holder:?} to {successor:?}"));
                if let Some(holder) = holder {
                    self.input(holder, Input::HandOver { successor }, None);
                }
            }
            15 => {
                let timing = [60, 250, 2_000].map(|ms| Timing::from_lease_ms(ms).expect("valid"))
                    [self.draw(3)];
                self.note(|| format!("{host} is fed a lease of {} ns", timing.lease()));
                let configuration = self.configuration;
                self.input(
                    host,
                    Input::Feed {
                        configuration,
                        timing,
                        confirmed: true,
                    },
                    None,
                );
            }
            _ => {
                let fit = self.random.below(3) > 0;
                self.hosts[host].fit = fit;
                self.input(host, Input::Fit { fit, handicap: 0 }, None);
            }
        }
    }

    /// SIGKILL. Then either `khad` proves the death and releases (K1 to K6), or a new process finds things as they are.
    pub(super) fn kill(&mut self, host: usize) {
        if self.hosts[host].process.take().is_none() {
            return;
        }
        self.note(|| format!("kill {host}"));
        self.hosts[host].generation += 1;
        let after = MS / 10 + self.random.below(self.timing.lease());
        if self.random.below(2) == 0 {
            let proven = self.random.below(after);
            self.schedule(proven, Event::ReleaseForDead { host });
        }
        self.schedule(after, Event::Start { host });
    }

    /// K2 to K5, by `khad` under an incarnation of its own.
    pub(super) fn release_for_dead(&mut self, host: usize) {
        if self.hosts[host].process.is_some() {
            return;
        }
        let dead = &mut self.hosts[host];
        (dead.gate_until, dead.address) = (0, false);
        let ballot = dead
            .record
            .as_mut()
            .and_then(crate::Record::release_for_dead_process);
        self.note(|| format!("{host} released for its dead process: {ballot:?}"));
        if let Some(ballot) = ballot {
            for to in 0..self.hosts.len() {
                self.transmit(
                    host,
                    to,
                    0,
                    Message::Release {
                        ballot,
                        successor: 0,
                    },
                );
            }
        }
    }

    pub(super) fn stall(&mut self, host: usize, duration: u64) {
        let generation = self.hosts[host].generation;
        let Some(process) = self.hosts[host].process.as_mut() else {
            return;
        };
        if !process.stalled {
            process.stalled = true;
            self.note(|| format!("{host} stalls for {duration}"));
            self.schedule(duration, Event::Resume { host, generation });
        }
    }

    /// Everything is well again: from here on there must soon be a holder.
    pub(super) fn end_faults(&mut self) {
        self.network.heal();
        (self.network.loss_percent, self.network.late_percent) = (0, 0);
        self.note(|| "all is well".to_owned());
        for host in 0..self.hosts.len() {
            self.hosts[host].fit = true;
            self.input(
                host,
                Input::Fit {
                    fit: true,
                    handicap: 0,
                },
                None,
            );
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
        }
    }
}
