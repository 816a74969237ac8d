//! A cluster that only pretends: it carries effects out by changing facts, at once and without
//! failing, or loses and repeats them where a test says so.

use khactl_model::command::{
    AddToken, AdmitHost, Command, CreateCluster, Entry, SealedAuthority, SealedSecret,
};
use khactl_model::component::ComponentName;
use khactl_model::facts::{
    ComponentReport, EtcdMemberFact, ExitFact, Facts, FileFact, HostReport, LeafFact, ProbeFact,
    ProcessFact, STABLE_MS, VipFact,
};
use khactl_model::spec::{ClusterSpec, Mode, ValidSpec};
use khactl_model::state::{ClusterState, Host, Role};
use khactl_plan::effect::{Content, Effect};
use khactl_plan::{
    ClusterCx, Cx, HostPlan, Paths, Plan, RaftFacts, Status, crash_of, digest, feed_digest,
    fence_majority, plan_cluster, plan_host, sha256_hex, with_arguments_of,
};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const YEAR_S: i64 = 365 * 24 * 3600;
pub(crate) const WALL_S: i64 = 1_800_000_000;

/// A spec as most people write it.
pub(crate) fn spec(version: &str) -> ValidSpec {
    parse(&format!(
        "apiVersion: khactl.io/v1alpha1\n\
         kind: Cluster\n\
         metadata: {{name: prod}}\n\
         spec:\n\
         \x20 vip: {{addresses: [10.77.0.100/24], preference: [cp2, cp1]}}\n\
         \x20 controlPlane:\n\
         \x20   kubernetesVersion: {version}\n\
         \x20   bundle: /opt/khactl/bundles/{version}\n\
         \x20   apiServer: {{extraSans: [api.example.org], extraArgs: {{}}}}\n"
    ))
}

pub(crate) fn parse(text: &str) -> ValidSpec {
    ClusterSpec::parse(text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Hosts `cp1`, `cp2`, … at 10.77.0.11, 10.77.0.12, …; the first one leads.
pub(crate) struct FakeCluster {
    pub(crate) spec: ValidSpec,
    pub(crate) state: ClusterState,
    pub(crate) paths: Paths,
    pub(crate) facts: BTreeMap<String, Facts>,
    pub(crate) raft: RaftFacts,
    /// The host whose plan for the cluster is carried out.
    pub(crate) leader_id: u64,
    /// Ids of hosts that do not report.
    pub(crate) silent: BTreeSet<u64>,
    pub(crate) etcd: Vec<EtcdMemberFact>,
    pub(crate) now_ms: u64,
    pub(crate) wall_s: i64,
    /// Starts of each process on each host.
    pub(crate) starts: BTreeMap<(String, ComponentName), u32>,
    /// What hosts go by whose turn it is not yet to take other arguments.
    on_host: BTreeMap<String, ValidSpec>,
    fence_since_ms: Option<u64>,
    turn_since_ms: Option<u64>,
}

impl FakeCluster {
    /// A cluster of one host on which nothing was done yet.
    pub(crate) fn new(spec: ValidSpec) -> Self {
        let authority = |name: &str| SealedAuthority {
            name: name.to_owned(),
            certificate_pem: format!("certificate of {name}\n"),
            sealed_key: vec![1],
        };
        let mut cluster = Self {
            spec,
            state: ClusterState::default(),
            paths: Paths::default(),
            facts: BTreeMap::new(),
            raft: RaftFacts::default(),
            leader_id: 1,
            silent: BTreeSet::new(),
            etcd: Vec::new(),
            now_ms: 1_000,
            wall_s: WALL_S,
            starts: BTreeMap::new(),
            on_host: BTreeMap::new(),
            fence_since_ms: None,
            turn_since_ms: None,
        };
        cluster.propose(Command::CreateCluster(CreateCluster {
            id: "00112233445566778899aabbccddeeff".to_owned(),
            name: cluster.spec.name.clone(),
            spec_yaml: cluster.spec.to_yaml(),
            host_name: "cp1".to_owned(),
            address: address(1),
            key_pin: "pin-cp1".to_owned(),
            authorities: match cluster.spec.control_plane.mode {
                Mode::Managed => ["khactl-ca", "kubernetes", "front-proxy", "etcd"]
                    .map(authority)
                    .into(),
                Mode::External => vec![authority("khactl-ca")],
            },
            secrets: vec![SealedSecret {
                name: "service-account".to_owned(),
                sealed: vec![2],
                public_pem: "public half of the service-account key\n".to_owned(),
            }],
        }));
        cluster.facts.insert("cp1".to_owned(), Facts::default());
        cluster.raft.voters.insert(1);
        cluster
    }

    /// Admits the host `cpN`.
    pub(crate) fn admit(&mut self, number: u8, role: Role) {
        let name = format!("cp{number}");
        let token_id = format!("token{number}");
        self.propose(Command::AddToken(AddToken {
            id: token_id.clone(),
            secret_hash: vec![3],
            role,
            host_name: None,
            expires_at_ms: i64::MAX,
            uses: 1,
        }));
        self.propose(Command::AdmitHost(AdmitHost {
            token_id,
            host_name: name.clone(),
            address: address(number),
            key_pin: format!("pin-{name}"),
        }));
        self.facts.insert(name, Facts::default());
    }

    pub(crate) fn host(&self, name: &str) -> &Host {
        &self.state.hosts[name]
    }

    pub(crate) fn cx<'a>(&'a self, name: &str) -> Cx<'a> {
        Cx {
            spec: self.on_host.get(name).unwrap_or(&self.spec),
            state: &self.state,
            host: &self.state.hosts[name],
            facts: &self.facts[name],
            paths: &self.paths,
            now_ms: self.now_ms,
            wall_s: self.wall_s,
            jitter: 7,
        }
    }

    pub(crate) fn plan(&self, name: &str) -> HostPlan {
        plan_host(&self.cx(name))
    }

    pub(crate) fn plan_cluster(&self) -> Plan {
        let reports = self.reports();
        plan_cluster(&ClusterCx {
            spec: &self.spec,
            state: &self.state,
            reports: &reports,
            raft: &self.raft,
            leader_id: self.leader_id,
            etcd_members: self
                .runs("cp1", ComponentName::Etcd)
                .then_some(&self.etcd[..]),
            fence_majority_since_ms: self.fence_since_ms,
            turn_since_ms: self.turn_since_ms,
            leader_since_ms: 0,
            now_ms: self.now_ms,
        })
    }

    /// Lets time go by; probes, khavip and reports keep up with it.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        let serving: Vec<String> = self
            .facts
            .keys()
            .filter(|name| self.runs(name, ComponentName::KubeApiserver))
            .cloned()
            .collect();
        for facts in self.facts.values_mut() {
            facts.confirmed = true;
            for process in facts.processes.values_mut() {
                if process.running && self.now_ms - process.started_at_ms >= STABLE_MS {
                    process.quick_exits = 0;
                }
            }
            for (name, process) in &facts.processes {
                let probe = ProbeFact {
                    ready: process.running,
                    detail: String::new(),
                    ..ProbeFact::default()
                };
                facts.probes.insert(*name, probe);
            }
            let khavip = facts.processes.get(&ComponentName::Khavip);
            if !khavip.is_some_and(|process| process.running) {
                facts.vip = None;
            } else if let Some(vip) = &mut facts.vip {
                vip.fence = vip.epoch;
                vip.backends = serving.iter().map(|name| (name.clone(), true)).collect();
            } else {
                facts.vip = Some(silent_vip());
            }
        }
        if fence_majority(&self.state, &self.reports()) {
            self.fence_since_ms.get_or_insert(self.now_ms);
        } else {
            self.fence_since_ms = None;
        }
        // A pass goes by between two turns.
        let turns = self.state.arguments.in_turn().is_some();
        self.turn_since_ms = turns.then(|| self.turn_since_ms.unwrap_or(self.now_ms));
    }

    /// Plans and carries out everywhere until nothing is left to do, at most so many rounds.
    pub(crate) fn settle(&mut self, rounds: u32, mut attempts: impl FnMut(&Effect) -> u32) {
        for _ in 0..rounds {
            self.pass(500);
            let mut effects: Vec<(String, Effect)> = Vec::new();
            let mut backs_off = false;
            for name in self.state.hosts.keys() {
                let plan = self.plan(name);
                backs_off |= plan
                    .components
                    .iter()
                    .any(|(_, status)| matches!(status, Status::BackOff { .. }));
                effects.extend(
                    plan.effects
                        .into_iter()
                        .map(|effect| (name.clone(), effect)),
                );
            }
            let cluster = self.plan_cluster();
            let waits = backs_off || cluster.wake.is_some();
            if effects.is_empty() && cluster.effects.is_empty() && !waits {
                return;
            }
            effects.extend(cluster.effects.into_iter().map(|e| ("cp1".to_owned(), e)));
            for (name, effect) in effects {
                for _ in 0..attempts(&effect) {
                    self.carry_out(&name, &effect);
                }
            }
            assert!(
                self.etcd.iter().filter(|member| member.learner).count() <= 1,
                "etcd has two learners: {:?}",
                self.etcd
            );
        }
        panic!(
            "still something to do: {:?}, {:?}",
            self.plan_cluster(),
            self.state
                .hosts
                .keys()
                .map(|name| self.plan(name))
                .collect::<Vec<_>>()
        );
    }

    /// Ends a process as if by itself.
    pub(crate) fn end(&mut self, name: &str, component: ComponentName, quick_exits: u32) {
        let at_ms = self.now_ms;
        let process = self
            .facts
            .get_mut(name)
            .unwrap()
            .processes
            .get_mut(&component)
            .unwrap();
        process.running = false;
        process.quick_exits = quick_exits;
        process.exit = Some(ExitFact {
            at_ms,
            how: "exit code 1".to_owned(),
        });
        process.last_exit.clone_from(&process.exit);
    }

    pub(crate) fn runs(&self, name: &str, component: ComponentName) -> bool {
        self.facts[name]
            .processes
            .get(&component)
            .is_some_and(|process| process.running)
    }

    pub(crate) fn reports(&self) -> BTreeMap<u64, (HostReport, u64)> {
        self.state
            .hosts
            .values()
            .filter(|host| !self.silent.contains(&host.id))
            .map(|host| (host.id, (self.report(host), 100)))
            .collect()
    }

    fn report(&self, host: &Host) -> HostReport {
        let facts = &self.facts[&host.name];
        let plan = self.plan(&host.name);
        let components = plan.components.iter().filter_map(|(name, status)| {
            let name = ComponentName::parse(name)?;
            let process = facts.processes.get(&name).filter(|process| process.running);
            Some(ComponentReport {
                name,
                state: status.state(),
                detail: status.why().to_owned(),
                pid: process.map(|process| process.pid),
                quick_exits: 0,
                ran_ms: process.map_or(0, |process| self.now_ms - process.started_at_ms),
                crash: crash_of(facts, name),
            })
        });
        HostReport {
            host_id: host.id,
            version: "0.1.0".to_owned(),
            machine: String::new(),
            components: components.collect(),
            vip: facts.vip.clone(),
            problems: plan.problems,
            certificates: BTreeMap::new(),
            arguments: self.state.arguments_of(host.id).unwrap_or(0),
            unready: false,
        }
    }

    pub(crate) fn propose(&mut self, command: Command) {
        let entry = Entry {
            actor: "test".to_owned(),
            at_ms: 0,
            command,
        };
        // A refusal is what a repeated proposal gets.
        let _ = self.state.apply(&entry);
        self.read_specs();
    }

    /// What tests put into `spec` by hand stays: only a spec that was changed as people do is read again.
    fn read_specs(&mut self) {
        let Some(newest) = self.state.specs.last().filter(|spec| spec.revision > 1) else {
            return;
        };
        self.spec = parse(&newest.yaml);
        let hosts = self.state.hosts.values();
        self.on_host = hosts
            .filter_map(|host| {
                let own = self.state.arguments_of(host.id)?;
                let own = self.state.specs.iter().find(|spec| spec.revision == own)?;
                let merged = with_arguments_of(&self.spec, &parse(&own.yaml))?;
                Some((host.name.clone(), merged))
            })
            .collect();
    }

    pub(crate) fn carry_out(&mut self, name: &str, effect: &Effect) {
        let (wall_s, now_ms) = (self.wall_s, self.now_ms);
        let sans = self.sans(name);
        let facts = self.facts.get_mut(name).unwrap();
        match effect {
            Effect::EnsureFolder { path, mode, owner } => {
                facts.files.insert(path.clone(), file("", *mode, *owner));
            }
            Effect::WriteFile {
                path,
                mode,
                owner,
                content,
            } => {
                let sha256 = match content {
                    Content::Text(text) => sha256_hex(text.as_bytes()),
                    sealed => sha256_hex(format!("{sealed:?}").as_bytes()),
                };
                facts
                    .files
                    .insert(path.clone(), file(&sha256, *mode, *owner));
            }
            Effect::IssueCertificate {
                leaf,
                cert,
                key,
                owner,
            } => {
                facts
                    .files
                    .insert(cert.clone(), file("cert", 0o644, *owner));
                facts.files.insert(key.clone(), file("key", 0o600, *owner));
                let fact = LeafFact {
                    not_before_s: wall_s - 300,
                    not_after_s: wall_s - 300 + YEAR_S,
                    sans,
                    authority: String::new(),
                };
                facts.leaves.insert((*leaf).to_owned(), fact);
            }
            Effect::EnsureProcess(process) => {
                let digest = digest(process);
                let known = facts.processes.get(&process.name);
                if known.is_some_and(|known| known.running && known.digest == digest) {
                    return;
                }
                let ended = known.filter(|known| !known.running && known.digest == digest);
                let quick_exits = ended.map_or(0, |ended| ended.quick_exits);
                let last_exit = known.and_then(|known| known.exit.clone());
                let fact = ProcessFact {
                    pid: 100,
                    running: true,
                    digest,
                    started_at_ms: now_ms,
                    start_ticks: now_ms / 10,
                    exit: None,
                    last_exit,
                    quick_exits,
                };
                facts.processes.insert(process.name, fact);
                facts.etcd_data |= process.name == ComponentName::Etcd;
                *self
                    .starts
                    .entry((name.to_owned(), process.name))
                    .or_default() += 1;
                if process.name == ComponentName::Etcd && self.etcd.is_empty() {
                    self.etcd.push(self.member(name, false));
                }
            }
            Effect::StopProcess { name, .. } => {
                if let Some(process) = facts.processes.get_mut(name) {
                    process.running = false;
                }
            }
            Effect::EndHung { name, pid, why, .. } => {
                if let Some(process) = facts.processes.get_mut(name)
                    && process.pid == *pid
                {
                    process.running = false;
                    process.quick_exits += 1;
                    process.exit = Some(ExitFact {
                        at_ms: now_ms,
                        how: format!("ended because {why}"),
                    });
                    process.last_exit.clone_from(&process.exit);
                }
            }
            Effect::FeedVip(feed) => {
                if let Some(vip) = &mut facts.vip {
                    vip.fed = feed_digest(feed);
                    vip.epoch = feed.epoch;
                    vip.ready = feed.confirmed;
                    let draining = feed.backends.iter().filter(|backend| backend.draining);
                    vip.draining = draining.map(|backend| backend.host.clone()).collect();
                }
            }
            Effect::Propose(command) => self.propose(command.clone()),
            Effect::RaftAddLearner { host_id } => {
                if !self.raft.voters.contains(host_id) {
                    self.raft.learners.insert(*host_id);
                }
            }
            Effect::RaftPromote { host_id } => {
                self.raft.learners.remove(host_id);
                self.raft.voters.insert(*host_id);
            }
            Effect::RaftRemove { host_id } => {
                self.raft.voters.remove(host_id);
                self.raft.learners.remove(host_id);
            }
            Effect::RaftTransfer { host_id } => self.leader_id = *host_id,
            Effect::EtcdRemove { member_id, .. } => {
                self.etcd.retain(|member| member.id != *member_id);
            }
            Effect::EtcdAddLearner { host_name, .. } => {
                let member = self.member(host_name, true);
                if !self.etcd.iter().any(|other| other.id == member.id) {
                    self.etcd.push(member);
                }
            }
            Effect::EtcdPromote { member_id, .. } => {
                for member in &mut self.etcd {
                    member.learner &= member.id != *member_id;
                }
            }
        }
    }

    pub(crate) fn member(&self, name: &str, learner: bool) -> EtcdMemberFact {
        let host = self.host(name);
        EtcdMemberFact {
            id: 0xe7cd_0000 + host.id,
            name: if learner {
                String::new()
            } else {
                name.to_owned()
            },
            peer_urls: vec![host.etcd_peer_url()],
            learner,
        }
    }

    fn sans(&self, name: &str) -> Vec<String> {
        let vips = self
            .spec
            .vip
            .addresses
            .iter()
            .map(|vip| vip.address().to_string());
        let extra = self
            .spec
            .control_plane
            .api_server
            .extra_sans
            .iter()
            .cloned();
        let host = self.host(name);
        let service = self.spec.network.first_service_address().to_string();
        vips.chain(extra)
            .chain([name.to_owned(), host.address.to_string(), service])
            .collect()
    }
}

fn address(number: u8) -> std::net::IpAddr {
    std::net::Ipv4Addr::new(10, 77, 0, 10 + number).into()
}

fn file(sha256: &str, mode: u32, owner: Option<&str>) -> FileFact {
    FileFact {
        sha256: sha256.to_owned(),
        mode,
        owner: owner.unwrap_or("root").to_owned(),
    }
}

fn silent_vip() -> VipFact {
    VipFact {
        realtime: true,
        locked: true,
        ..VipFact::default()
    }
}

/// The processes that a plan starts.
pub(crate) fn started(plan: &HostPlan) -> Vec<ComponentName> {
    plan.effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::EnsureProcess(process) => Some(process.name),
            _ => None,
        })
        .collect()
}

/// How a plan sees a component.
pub(crate) fn status<'a>(plan: &'a HostPlan, name: &str) -> &'a Status {
    &plan
        .components
        .iter()
        .find(|(other, _)| *other == name)
        .unwrap()
        .1
}
