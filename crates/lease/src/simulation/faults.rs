//! What goes wrong, drawn at random, and how everything becomes well again.

use super::scenario::Fault;
use super::world::{Event, World};
use crate::Timing;
use crate::timing::MS;

impl World {
    /// Something goes wrong, or right again.
    pub(super) fn fault(&mut self) {
        let total: u64 = self.faults.iter().map(|(_, weight)| weight).sum();
        let mut draw = self.random.below(total);
        for place in 0..self.faults.len() {
            let (fault, weight) = self.faults[place];
            if draw < weight {
                let host = self.pick_host();
                let id = self.hosts[host].id;
                self.note(|| format!("-- {fault:?}, host {id}"));
                return self.inflict(fault, host);
            }
            draw -= weight;
        }
    }

    fn inflict(&mut self, fault: Fault, host: usize) {
        let lease = self.timing.lease();
        match fault {
            Fault::Kill => self.kill(host),
            Fault::KillAndForget => {
                self.kill(host);
                if self.hosts[host].process.is_none() {
                    self.hosts[host].forget();
                }
            }
            Fault::Stop => {
                self.hosts[host].fit = false;
                self.hand_over(host, None);
                self.kill(host);
                self.hosts[host].fit = true;
            }
            Fault::Reboot => self.reboot(host),
            Fault::Stall => self.stall(host),
            Fault::Suspend => self.suspend(host),
            Fault::Mute => (0..self.hosts.len()).for_each(|other| self.network.cut(host, other)),
            Fault::Deaf => (0..self.hosts.len()).for_each(|other| self.network.cut(other, host)),
            Fault::CutLink => {
                let other = self.pick_host();
                self.network.cut(host, other);
                if self.random.percent(50) {
                    self.network.cut(other, host);
                }
            }
            Fault::CutOff => {
                for other in 0..self.hosts.len() {
                    self.network.cut(host, other);
                    self.network.cut(other, host);
                }
            }
            Fault::Heal => self.network.heal(),
            Fault::Loss => self.network.loss_percent = self.random.below(40),
            Fault::Late => {
                self.network.late_percent = *self.random.pick(&[0, 5, 30, 80]);
                let often = 3 * lease / 2;
                self.network.latest = *self.random.pick(&[lease / 5, often, often, 3_000 * MS]);
            }
            Fault::HandOver => {
                let successor = self.random.percent(50).then_some(self.hosts[host].id);
                let holder = self.holders().next();
                if let Some(holder) = holder {
                    self.hand_over(holder, successor);
                }
            }
            Fault::Profile => {
                let lease_ms = *self.random.pick(&[40, 60, 250, 2_000]);
                self.timing = Timing::from_lease_ms(lease_ms).expect("valid");
                self.note(|| format!("the lease is {lease_ms} ms"));
                self.spread();
            }
            Fault::Fit => {
                let fit = self.random.percent(66);
                let machine = &mut self.hosts[host];
                machine.fit = fit;
                if let Some(process) = &mut machine.process {
                    process.fit = Some(fit);
                    self.attend(host);
                }
            }
            Fault::Replay => self.replay(),
            Fault::Khad => self.khad_stop(host),
            Fault::Lag => {
                if self.hosts[host].khad.lags {
                    self.catch_up(host);
                } else {
                    self.lag(host);
                }
            }
            Fault::Leader => self.new_leader(),
            Fault::FalseDeath => self.release_for_dead(host),
        }
    }

    /// Recorded datagrams arrive once more, at whoever they were for or at anybody.
    fn replay(&mut self) {
        for _ in 0..8 {
            if let Some((arrival, to)) = self.network.recorded(&mut self.random) {
                let to = if self.random.percent(20) {
                    self.pick_host()
                } else {
                    to
                };
                let after = self.random.below(MS);
                self.schedule(after, Event::Deliver { to, arrival });
            }
        }
    }

    fn hand_over(&mut self, host: usize, successor: Option<u64>) {
        if let Some(process) = &mut self.hosts[host].process {
            process.hand_over = Some(successor.unwrap_or(0));
            self.attend(host);
        }
    }

    /// SIGKILL. Then either `khad` proves the death and releases (K1 to K6), or a new process finds things as they are.
    pub(super) fn kill(&mut self, host: usize) {
        if self.hosts[host].asleep || self.hosts[host].process.is_none() {
            return;
        }
        let id = self.hosts[host].id;
        self.note(|| format!("{id} is killed"));
        self.hosts[host].end_process();
        let reach = if self.scenario.prompt {
            2 * MS
        } else {
            self.timing.lease()
        };
        let after = MS / 10 + self.random.below(reach);
        if self.hosts[host].khad.up && self.random.percent(50) {
            let proven = self.random.below(after);
            self.schedule(proven, Event::ReleaseForDead { host });
        }
        self.schedule(after, Event::Start { host });
    }

    fn reboot(&mut self, host: usize) {
        self.hosts[host].reboot(self.now);
        self.hosts[host].khad.up = false;
        let reach = if self.scenario.prompt {
            5 * MS
        } else {
            self.timing.lease()
        };
        let after = 2 * MS + self.random.below(reach);
        self.schedule(after, Event::Start { host });
        self.schedule(after, Event::KhadStart { host });
    }

    /// Stands still, for an instant or until the faults end.
    pub(super) fn stall(&mut self, host: usize) {
        let lease = self.timing.lease();
        let spans = [
            MS,
            lease / 5,
            lease / 5,
            2 * lease,
            2 * lease,
            4_500 * MS,
            u64::MAX,
        ];
        let span = *self.random.pick(&spans);
        let duration = self.random.below(span);
        let machine = &mut self.hosts[host];
        let (id, generation) = (machine.id, machine.generation);
        if let Some(process) = &mut machine.process
            && !process.stalled
        {
            process.stalled = true;
            machine.timer = u64::MAX;
            self.note(|| format!("{id} stalls for {} ms", duration / MS));
            self.schedule(duration, Event::Resume { host, generation });
        }
    }

    pub(super) fn resume(&mut self, host: usize) {
        let machine = &mut self.hosts[host];
        let id = machine.id;
        if let Some(process) = &mut machine.process {
            process.stalled = false;
            // Its timer rang meanwhile.
            machine.timer = self.now;
            self.note(|| format!("{id} goes on"));
            self.attend(host);
        }
    }

    fn suspend(&mut self, host: usize) {
        if !std::mem::replace(&mut self.hosts[host].asleep, true) {
            self.hosts[host].timer = u64::MAX;
            let span = *self.random.pick(&[1, self.timing.lease(), 3_000 * MS]);
            let after = self.random.below(span);
            self.schedule(after, Event::Wake { host });
        }
    }

    /// The clock counted the sleep, to the second: it may be ahead, and the process sees that it jumped.
    pub(super) fn wake(&mut self, host: usize) {
        if !std::mem::take(&mut self.hosts[host].asleep) {
            return;
        }
        let ahead = if self.random.percent(50) {
            self.random.below(1_000 * MS)
        } else {
            0
        };
        let now = self.now;
        let machine = &mut self.hosts[host];
        machine.leap(now, ahead);
        machine.timer = now;
        let id = machine.id;
        if let Some(process) = &mut machine.process {
            process.jumped = true;
        }
        self.note(|| format!("{id} wakes, its clock {} ms ahead", ahead / MS));
        self.check(host);
        self.attend(host);
    }

    /// Everything is well again, but for a minority: from here on there must soon be a holder.
    pub(super) fn end_faults(&mut self) {
        self.note(|| "-- all is well".to_owned());
        self.faulty = false;
        self.network.heal();
        (self.network.loss_percent, self.network.late_percent) = (0, 0);
        let members = self.configuration();
        let broken = self.choose_broken(members.members().len());
        for host in 0..self.hosts.len() {
            if broken.contains(&host) {
                self.break_down(host);
                continue;
            }
            self.wake(host);
            self.hosts[host].fit = true;
            let member = members.place(self.hosts[host].id).is_some();
            self.hosts[host].khad.enrolled |= member;
            self.hosts[host].khad.lags = false;
            if !self.hosts[host].khad.up {
                self.khad_start(host);
            }
            self.schedule(0, Event::Confirm { host });
            self.schedule(MS, Event::Learn { host });
            if self.hosts[host].process.is_none() {
                self.start(host);
            } else {
                self.resume(host);
            }
        }
    }

    /// A minority that stays broken; the majority keeps somebody who can hold.
    fn choose_broken(&mut self, members: usize) -> Vec<usize> {
        let most = (members - 1) / 2;
        let count = usize::try_from(self.random.below(most as u64 + 1)).unwrap_or(0);
        let all = self.configuration();
        let mut places: Vec<_> = all
            .members()
            .iter()
            .filter_map(|member| self.place_of(member.id))
            .collect();
        for last in (1..places.len()).rev() {
            let other = usize::try_from(self.random.below(last as u64 + 1)).unwrap_or(0);
            places.swap(last, other);
        }
        places.truncate(count);
        places
    }

    fn break_down(&mut self, host: usize) {
        let kind = self.random.below(5);
        let id = self.hosts[host].id;
        let word =
            ["dead", "deaf", "mute", "cut off", "stopped"][usize::try_from(kind).unwrap_or(0)];
        self.note(|| format!("{id} stays {word}"));
        for other in 0..self.hosts.len() {
            if kind == 1 || kind == 3 {
                self.network.cut(other, host);
            }
            if kind == 2 || kind == 3 {
                self.network.cut(host, other);
            }
        }
        match kind {
            0 => self.hosts[host].reboot(self.now),
            4 => {
                if let Some(process) = &mut self.hosts[host].process {
                    process.stalled = true;
                    self.hosts[host].generation += 1;
                    self.hosts[host].timer = u64::MAX;
                }
            }
            _ => {}
        }
    }
}
