//! The control side of every host: what it knows of Raft, when it learns it, and what it feeds (A8, A9, K1 to K6).

use super::control::Control;
use super::world::{Event, World};
use crate::timing::MS;
use crate::{Message, Record};

impl World {
    pub(super) fn feed(&mut self, host: usize) {
        let machine = &mut self.hosts[host];
        let khad = machine.khad;
        let configuration = khad
            .epoch
            .checked_sub(1)
            .and_then(|place| self.epochs.get(place));
        if let (true, Some(configuration), Some(process)) =
            (khad.up, configuration, &mut machine.process)
        {
            process.fed = Some((*configuration, khad.timing, khad.confirmed));
            process.fit = Some(machine.fit);
            self.attend(host);
        }
    }

    /// Raft tells what it has committed. A host that was removed may or may not hear of it.
    pub(super) fn learn(&mut self, host: usize) {
        let hears = self.hosts[host].khad.enrolled || self.random.percent(50);
        let khad = &mut self.hosts[host].khad;
        if khad.up && !khad.lags && hears {
            khad.epoch = self.epochs.len();
            khad.timing = self.timing;
            let after = self.random.below(3 * MS);
            self.schedule(after, Event::Feed { host });
        }
    }

    /// A8: a linearizable read needs a member of Raft that is not cut off from it.
    pub(super) fn confirm(&mut self, host: usize) {
        let khad = &mut self.hosts[host].khad;
        if khad.confirmed || !khad.up {
            return;
        }
        if khad.lags || !khad.enrolled {
            return self.schedule(200 * MS, Event::Confirm { host });
        }
        khad.confirmed = true;
        self.learn(host);
    }

    /// A new `khad` reads its disk, which may be behind what the one before knew, and nothing of it is confirmed.
    pub(super) fn khad_start(&mut self, host: usize) {
        let known = self.hosts[host].khad.epoch as u64;
        let lost = if self.random.percent(30) {
            self.random.below(known)
        } else {
            0
        };
        let khad = &mut self.hosts[host].khad;
        khad.up = true;
        khad.confirmed = false;
        khad.epoch -= usize::try_from(lost).unwrap_or(0);
        self.schedule(0, Event::Feed { host });
        let reach = if self.scenario.prompt { MS } else { 500 * MS };
        let after = self.random.below(reach);
        self.schedule(after, Event::Confirm { host });
    }

    pub(super) fn khad_stop(&mut self, host: usize) {
        let lease = self.timing.lease();
        let khad = &mut self.hosts[host].khad;
        if khad.up {
            khad.up = false;
            let after = self.random.below(4 * lease);
            self.schedule(after, Event::KhadStart { host });
        }
    }

    pub(super) fn lag(&mut self, host: usize) {
        if !std::mem::replace(&mut self.hosts[host].khad.lags, true) {
            let id = self.hosts[host].id;
            self.note(|| format!("{id} hears nothing of Raft"));
        }
    }

    pub(super) fn catch_up(&mut self, host: usize) {
        if std::mem::take(&mut self.hosts[host].khad.lags) {
            let id = self.hosts[host].id;
            self.note(|| format!("{id} hears of Raft again"));
            self.schedule(0, Event::Learn { host });
        }
    }

    /// K2 to K5, by a process of its own: between its start and its end nobody else has the record. It may be killed
    /// before its end too.
    pub(super) fn release_for_dead(&mut self, host: usize) {
        let control = self.scenario.control;
        let unproven = control == Control::UnprovenDeath;
        if self.hosts[host].asleep || (self.hosts[host].process.is_some() && !unproven) {
            return;
        }
        let steps = if self.faulty && self.random.percent(10) {
            self.random.below(3)
        } else {
            3
        };
        let machine = &mut self.hosts[host];
        if control != Control::ReleaseWithoutClose {
            (machine.gate_until, machine.address) = (0, false);
        }
        let mut record = machine.tmpfs.open(machine.slept);
        let ballot = record.as_mut().and_then(Record::release_for_dead_process);
        if steps >= 2
            && let Some(record) = record
        {
            machine.tmpfs.write(&record);
        }
        let id = machine.id;
        self.note(|| format!("{id}'s khad releases for a dead process: {ballot:?}"));
        let incarnation = self.random.next() | 1;
        let known = self.hosts[host].khad.epoch.saturating_sub(1);
        let members = self.epochs[known];
        if let (Some(ballot), 3) = (ballot, steps) {
            for (counter, member) in (1..).zip(members.members()) {
                let to = self.place_of(member.id).filter(|to| *to != host);
                let message = Message::Release {
                    ballot,
                    successor: 0,
                };
                if let Some(to) = to {
                    self.transmit(host, to, (incarnation, counter), message);
                }
            }
        }
    }
}
