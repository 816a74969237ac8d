//! The leader's plan for the lease's membership under random orders of events: leaders change at any moment,
//! hosts die and return, reports come late. Real are the plan, the leader's memory and the replicated
//! state; hosts, Raft and time are pretended.

use std::collections::{BTreeMap, BTreeSet};

use khactl_agent::reports::Reports;
use khactl_model::command::{AddToken, AdmitHost, Command, CreateCluster, Entry};
use khactl_model::facts::{HostReport, VipFact};
use khactl_model::spec::{ClusterSpec, ValidSpec};
use khactl_model::state::{ClusterState, OperationState, Role};
use khactl_plan::effect::Effect;
use khactl_plan::{
    ClusterCx, LEASE_S_MS, RaftFacts, Verdict, fence_majority, judge_removal, plan_cluster,
};

const SEEDS: u64 = 400;
const EVENTS: usize = 600;
/// From learning an epoch to fencing it.
const GRACE_MS: u64 = 1_000;
const SPEC: &str = "apiVersion: khactl.io/v1alpha1\n\
                    kind: Cluster\n\
                    metadata: {name: prod}\n\
                    spec:\n\
                    \x20 vip: {addresses: [10.77.0.100/24]}\n\
                    \x20 balancer: {port: 8443}\n\
                    \x20 controlPlane: {mode: external}\n";

/// One host's khavip, and whether the host is up.
#[derive(Debug, Clone, Default)]
struct Host {
    up: bool,
    epoch: u64,
    fence: u64,
    /// The epoch that becomes the fence, and when.
    next: Option<(u64, u64)>,
    silent_until_ms: u64,
    /// When each epoch was first fenced here, in this life or an earlier one.
    fenced_ms: BTreeMap<u64, u64>,
}

struct World {
    spec: ValidSpec,
    state: ClusterState,
    raft: RaftFacts,
    hosts: BTreeMap<u64, Host>,
    leader_id: u64,
    term: u64,
    led_since_ms: u64,
    reports: Reports,
    now_ms: u64,
    seed: u64,
    changes: usize,
    aborted: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let spec = ClusterSpec::parse(SPEC).unwrap_or_else(|problems| panic!("{problems}"));
        let mut world = Self {
            spec,
            state: ClusterState::default(),
            raft: RaftFacts::default(),
            hosts: BTreeMap::new(),
            leader_id: 1,
            term: 1,
            led_since_ms: 0,
            reports: Reports::default(),
            now_ms: 10_000,
            seed,
            changes: 0,
            aborted: 0,
        };
        world.propose(Command::CreateCluster(CreateCluster {
            id: "00".into(),
            name: "prod".into(),
            spec_yaml: SPEC.into(),
            host_name: "cp1".into(),
            address: "10.77.0.11".parse().unwrap(),
            key_pin: "pin1".into(),
            authorities: Vec::new(),
            secrets: Vec::new(),
        }));
        world.propose(Command::AddToken(AddToken {
            id: "joins0".into(),
            secret_hash: vec![1],
            role: Role::ControlPlane,
            host_name: None,
            expires_at_ms: i64::MAX,
            uses: 1_000,
        }));
        world.raft.voters.insert(1);
        world.boot(1);
        for _ in 0..3 {
            world.admit();
        }
        world
    }

    fn below(&mut self, limit: usize) -> usize {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }

    fn pick(&mut self, of: &[u64]) -> Option<u64> {
        (!of.is_empty()).then(|| of[self.below(of.len())])
    }

    fn propose(&mut self, command: Command) {
        let before = self.state.lease.clone();
        let entry = Entry {
            actor: "test".into(),
            at_ms: 0,
            command,
        };
        self.state.apply(&entry).unwrap();
        if self.state.lease != before && before.epoch > 0 {
            self.judge_change(before.epoch, &before.members);
        }
    }

    /// M1 and M2, by what really was, not by what the leader was told.
    fn judge_change(&mut self, epoch: u64, members: &[u64]) {
        let after: BTreeSet<u64> = self.state.lease.members.iter().copied().collect();
        let before: BTreeSet<u64> = members.iter().copied().collect();
        assert_eq!(after.symmetric_difference(&before).count(), 1, "M1");
        let Some(long_ago) = self.now_ms.checked_sub(LEASE_S_MS) else {
            panic!("M2: the first change comes before S has passed");
        };
        assert!(
            self.led_since_ms <= long_ago,
            "M2: a leader that is too new"
        );
        let fenced = members
            .iter()
            .filter(|id| {
                let fences = &self.hosts[*id].fenced_ms;
                fences.range(epoch..).any(|(_, at_ms)| *at_ms <= long_ago)
            })
            .count();
        assert!(
            fenced > members.len() / 2,
            "M2: {fenced} of {members:?} have fenced epoch {epoch} for S"
        );
        self.changes += 1;
    }

    fn admit(&mut self) {
        if self.state.hosts.len() >= 6 {
            return;
        }
        let id = self.state.next_host_id;
        self.propose(Command::AdmitHost(AdmitHost {
            token_id: "joins0".into(),
            host_name: format!("cp{id}"),
            address: format!("10.77.1.{}", id % 250).parse().unwrap(),
            key_pin: format!("pin{id}"),
        }));
        self.boot(id);
    }

    /// Without the record: silent for S, and nothing is fenced.
    fn boot(&mut self, id: u64) {
        let now_ms = self.now_ms;
        let host = self.hosts.entry(id).or_default();
        let fenced_ms = std::mem::take(&mut host.fenced_ms);
        *host = Host {
            up: true,
            silent_until_ms: now_ms + LEASE_S_MS,
            fenced_ms,
            ..Host::default()
        };
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        let now_ms = self.now_ms;
        for host in self.hosts.values_mut().filter(|host| host.up) {
            if let Some((epoch, _)) = host.next.filter(|(_, at_ms)| now_ms >= *at_ms) {
                host.fence = host.fence.max(epoch);
                host.fenced_ms.entry(epoch).or_insert(now_ms);
                host.next = None;
            }
        }
    }

    /// The newest log reaches a host, and its khavip is fed.
    fn feed(&mut self, id: u64) {
        let (epoch, now_ms) = (self.state.lease.epoch, self.now_ms);
        let host = self.hosts.get_mut(&id).unwrap();
        if host.up && epoch > host.epoch {
            host.epoch = epoch;
            host.next = Some((epoch, now_ms + GRACE_MS));
        }
    }

    fn report(&mut self, id: u64) {
        let host = &self.hosts[&id];
        if !host.up || self.state.host_by_id(id).is_none() {
            return;
        }
        let report = HostReport {
            host_id: id,
            version: String::new(),
            machine: String::new(),
            components: Vec::new(),
            vip: Some(VipFact {
                epoch: host.epoch,
                fence: host.fence,
                ready: host.epoch > 0 && self.now_ms >= host.silent_until_ms,
                ..VipFact::default()
            }),
            problems: Vec::new(),
            certificates: BTreeMap::new(),
            arguments: 0,
            unready: false,
        };
        let now_ms = self.now_ms;
        self.reports.insert(report, now_ms);
    }

    /// A majority of the voters is up, and the leader among them.
    fn decides(&self) -> bool {
        let up = |id: &u64| self.hosts[id].up;
        let voters = &self.raft.voters;
        up(&self.leader_id) && voters.iter().filter(|id| up(id)).count() > voters.len() / 2
    }

    fn elect(&mut self) {
        let able: Vec<u64> = self.raft.voters.iter().copied().collect();
        let able: Vec<u64> = able.into_iter().filter(|id| self.hosts[id].up).collect();
        if able.len() <= self.raft.voters.len() / 2 {
            return;
        }
        if let Some(id) = self.pick(&able) {
            self.leader_id = id;
            self.term += 1;
            self.led_since_ms = self.now_ms;
            // A host that came to lead has no memory; one that led before may not have looked since.
            if self.below(2) == 0 {
                self.reports = Reports::default();
            }
        }
    }

    fn with_cx<T>(&mut self, look: impl FnOnce(&ClusterCx<'_>) -> T) -> T {
        let now_ms = self.now_ms;
        self.reports.lead(Some(self.term), now_ms);
        let reports = self.reports.aged(now_ms);
        let majority = fence_majority(&self.state, &reports);
        self.reports
            .fenced(majority, (self.term, self.state.lease.epoch), now_ms);
        look(&ClusterCx {
            spec: &self.spec,
            state: &self.state,
            reports: &reports,
            raft: &self.raft,
            leader_id: self.leader_id,
            etcd_members: None,
            fence_majority_since_ms: self.reports.fence_majority_since_ms(),
            turn_since_ms: None,
            leader_since_ms: self.reports.leading_since_ms().unwrap_or(now_ms),
            now_ms,
        })
    }

    /// One turn of the leader's loop; what it wants may be lost with it.
    fn turn(&mut self, lost: bool) {
        if !self.decides() {
            return;
        }
        self.feed(self.leader_id);
        self.report(self.leader_id);
        let plan = self.with_cx(plan_cluster);
        assert!(plan.effects.len() <= 1, "{:?}", plan.effects);
        let Some(effect) = plan.effects.into_iter().next().filter(|_| !lost) else {
            return;
        };
        match effect {
            Effect::Propose(command) => self.propose(command),
            Effect::RaftAddLearner { host_id } => {
                self.raft.learners.insert(host_id);
            }
            Effect::RaftPromote { host_id } => {
                self.raft.learners.remove(&host_id);
                self.raft.voters.insert(host_id);
            }
            Effect::RaftRemove { host_id } => {
                assert_ne!(host_id, self.leader_id, "a leader took itself out");
                self.raft.learners.remove(&host_id);
                self.raft.voters.remove(&host_id);
                assert!(!self.raft.voters.is_empty());
            }
            Effect::RaftTransfer { host_id } => {
                if self.hosts[&host_id].up {
                    self.leader_id = host_id;
                    self.term += 1;
                    self.led_since_ms = self.now_ms;
                    self.reports = Reports::default();
                }
            }
            other => panic!("{other:?}"),
        }
    }

    /// As an operator does it: the leader judges first.
    fn remove(&mut self, id: u64) {
        if !self.decides() || self.state.staying().count() < 2 {
            return;
        }
        if matches!(self.with_cx(|cx| judge_removal(cx, id)), Verdict::Stops(_)) {
            return;
        }
        if let Some(name) = self.state.host_by_id(id).map(|host| host.name.clone()) {
            self.propose(Command::StartRemoval {
                host_name: name,
                forced: true,
                leaves: false,
            });
        }
    }

    /// Somebody thinks better of it, in time or too late.
    fn abort(&mut self, id: u64) {
        let host = self.state.host_by_id(id);
        let Some(removal) = host.and_then(|host| host.removal.clone()) else {
            return;
        };
        let entry = Entry {
            actor: "test".into(),
            at_ms: 0,
            command: Command::AbortRemoval {
                operation: removal.operation,
            },
        };
        if let Err(refused) = self.state.apply(&entry) {
            assert_eq!(refused.code, "KHA2089");
            return;
        }
        self.aborted += 1;
    }

    fn event(&mut self) {
        let ids: Vec<u64> = self.state.hosts.values().map(|host| host.id).collect();
        let Some(id) = self.pick(&ids) else { return };
        match self.below(100) {
            0..25 => {
                let ms = self.below(700) as u64;
                self.pass(ms);
            }
            25..45 => self.feed(id),
            45..70 => self.report(id),
            70..88 => {
                let lost = self.below(4) == 0;
                self.turn(lost);
            }
            88..91 => self.elect(),
            91..93 => self.hosts.get_mut(&id).unwrap().up = false,
            93..96 if !self.hosts[&id].up => self.boot(id),
            96..98 => self.remove(id),
            98 => self.admit(),
            99 => self.abort(id),
            _ => {}
        }
    }

    /// From here on all is well: whatever was asked for comes to its end.
    fn settle(&mut self) {
        let ids: Vec<u64> = self.state.hosts.values().map(|host| host.id).collect();
        for id in ids {
            if !self.hosts[&id].up {
                self.boot(id);
            }
        }
        if !self.decides() {
            self.elect();
        }
        for _ in 0..400 {
            self.pass(200);
            let ids: Vec<u64> = self.state.hosts.values().map(|host| host.id).collect();
            for id in ids {
                self.feed(id);
                self.report(id);
            }
            self.turn(false);
        }
        let staying: BTreeSet<u64> = self.state.staying().map(|host| host.id).collect();
        assert_eq!(
            self.state.hosts.len(),
            staying.len(),
            "a removal does not end"
        );
        assert_eq!(self.raft.voters, staying);
        let lease: BTreeSet<u64> = self.state.lease.members.iter().copied().collect();
        assert_eq!(lease, staying);
        assert!(
            self.state
                .operations
                .values()
                .all(|operation| operation.state != OperationState::Running)
        );
    }
}

#[test]
fn whatever_happens_the_lease_changes_by_its_rules_and_every_removal_ends() {
    let (mut changes, mut removed, mut aborted) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..EVENTS {
            world.event();
        }
        world.settle();
        changes += world.changes;
        removed += world.state.removed.len();
        aborted += world.aborted;
    }
    assert!(changes > 1_000, "only {changes} changes of the lease");
    assert!(removed > 300, "only {removed} hosts were removed");
    assert!(aborted > 20, "only {aborted} removals were aborted");
}
