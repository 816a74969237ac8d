//! The leader of Raft and the lease's membership, by M1 to M3. The rules are written down here once more, because the
//! planner of the control side decides on a whole cluster's state; `membership` in its tests holds it to the same rules.

use super::control::Control;
use super::world::{Event, World};
use crate::timing::{MS, SILENCE};
use crate::{Configuration, MEMBERS_MAX, Member};

/// How often a host reports and the leader looks, in nanoseconds at the most.
const PACE: u64 = 300 * MS;

/// What the leader of one term knows.
pub(super) struct Leader {
    /// Members change in this run.
    pub(super) changes: bool,
    host: usize,
    pub(super) term: u64,
    /// By host: the fence that it reported, and whether its acceptor would answer.
    reports: Vec<Option<(u64, bool)>>,
    /// Since when, on its own clock, a majority reports the present epoch.
    fenced_since: Option<u64>,
}

impl Leader {
    pub(super) fn new(changes: bool, hosts: usize) -> Self {
        Self {
            changes,
            host: 0,
            term: 1,
            reports: vec![None; hosts],
            fenced_since: None,
        }
    }

    /// Members change seldom: give them the time for a few.
    pub(super) fn stretch(&self, span: u64) -> u64 {
        if self.changes { 3 * span } else { span }
    }
}

impl World {
    pub(super) fn report(&mut self, host: usize) {
        let after = MS + self.random.below(PACE);
        self.schedule(after, Event::Report { host });
        let machine = &self.hosts[host];
        if let (true, false, Some(process)) = (machine.khad.up, machine.khad.lags, &machine.process)
        {
            let (fence, would_answer) = process.published;
            let term = self.leader.term;
            let under_way = self.random.below(20 * MS);
            self.schedule(
                under_way,
                Event::Reported {
                    host,
                    term,
                    fence,
                    would_answer,
                },
            );
        }
    }

    /// M2: a report to another leader says nothing to this one.
    pub(super) fn reported(&mut self, host: usize, term: u64, fence: u64, would_answer: bool) {
        if term == self.leader.term {
            self.leader.reports[host] = Some((fence, would_answer));
        }
    }

    pub(super) fn new_leader(&mut self) {
        self.leader.term += 1;
        self.leader.host = self.pick_host();
        self.leader.fenced_since = None;
        if self.scenario.control != Control::ChangeWithoutSilence {
            self.leader.reports.fill(None);
        }
        let (term, id) = (self.leader.term, self.hosts[self.leader.host].id);
        self.note(|| format!("{id} leads, term {term}"));
    }

    /// M2.
    fn may_change(&mut self) -> bool {
        let present = self.configuration();
        let now = self.hosts[self.leader.host].local(self.now);
        let fenced = present
            .members()
            .iter()
            .filter_map(|member| self.place_of(member.id))
            .filter_map(|place| self.leader.reports[place])
            .filter(|(fence, _)| *fence >= present.epoch())
            .count();
        if fenced < present.majority() {
            self.leader.fenced_since = None;
            return self.scenario.control == Control::ChangeAtOnce;
        }
        let since = *self.leader.fenced_since.get_or_insert(now);
        match self.scenario.control {
            Control::ChangeAtOnce | Control::ChangeWithoutSilence => true,
            _ => now >= since.saturating_add(SILENCE),
        }
    }

    pub(super) fn lead(&mut self) {
        if !self.faulty {
            return;
        }
        let next = MS + self.random.below(PACE);
        self.schedule(next, Event::Lead);
        if !self.may_change() || self.random.percent(20) {
            return;
        }
        let mut members = self.configuration().members().to_vec();
        let count = match self.scenario.control {
            Control::SeveralVoters => 1 + self.random.below(3),
            _ => 1,
        };
        for _ in 0..count {
            self.change(&mut members);
        }
        let epoch = self.configuration().epoch() + 1;
        let Ok(configuration) = Configuration::new(epoch, &members) else {
            return;
        };
        let ids: Vec<_> = members.iter().map(|member| member.id).collect();
        self.note(|| format!("epoch {epoch} is committed: {ids:?}"));
        self.epochs.push(configuration);
        self.leader.fenced_since = None;
        self.spread();
    }

    /// Everybody learns it sooner or later.
    pub(super) fn spread(&mut self) {
        let reach = *self.random.pick(&[5 * MS, 50 * MS, 500 * MS, 3_000 * MS]);
        for host in 0..self.hosts.len() {
            let after = self.random.below(reach);
            self.schedule(after, Event::Learn { host });
        }
    }

    /// One member more or less. A host that was removed can come back, with whatever it still remembers.
    fn change(&mut self, members: &mut Vec<Member>) {
        let host = self.pick_host();
        let (id, witness) = (self.hosts[host].id, self.hosts[host].witness);
        if let Some(place) = members.iter().position(|member| member.id == id) {
            let proposers = members.iter().filter(|m| m.proposer && m.id != id).count();
            if proposers > 0 {
                members.remove(place);
                self.hosts[host].khad.enrolled = false;
            }
            return;
        }
        // It becomes a member of Raft first, and of the lease when its acceptor would answer (M3).
        if !std::mem::replace(&mut self.hosts[host].khad.enrolled, true) {
            return self.schedule(0, Event::Learn { host });
        }
        if self.leader.reports[host].is_some_and(|(_, would_answer)| would_answer)
            && members.len() < MEMBERS_MAX
        {
            members.push(Member {
                id,
                preference: 0,
                proposer: !witness,
            });
        }
    }
}
