//! The leader's loop: plans what concerns the cluster (Raft's, etcd's and the lease's
//! membership) and carries it out. On the other hosts it rests.

use khactl_host::etcd::EtcdClient;
use khactl_host::tls::{Alpn, TlsMaterial};
use khactl_model::facts::EtcdMemberFact;
use khactl_model::spec::{ClusterSpec, Mode};
use khactl_model::state::{ClusterState, EtcdStage, Host};
use khactl_plan::effect::Effect;
use khactl_plan::{
    ClusterCx, RaftFacts, Status as PlanStatus, Verdict, fence_majority, judge_removal,
    plan_cluster,
};
use khactl_raft::Peer;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::Agent;
use crate::carry::{host_refused, problem};
use crate::current_spec::CurrentSpec;
use crate::node::{LeaderView, Node, raft_refused};
use crate::refused::Refused;
use crate::time;

/// While a change is under way.
const CHANGING: Duration = Duration::from_millis(200);
/// While nothing is.
const SETTLED: Duration = Duration::from_secs(2);
/// A change that was refused is tried again after so long. etcd refuses until every voter has
/// been connected for 5 s, and a learner's promotion until it has caught up.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// Between two turns at the least.
const TURN_LEAST: Duration = Duration::from_millis(20);
/// Of one call to etcd.
const ETCD_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts the loop.
pub fn spawn(agent: &Arc<Agent>, node: &Arc<Node>) {
    let mut cluster = ClusterLoop {
        node: Arc::clone(node),
        spec: CurrentSpec::default(),
        etcd: None,
    };
    let stopping = agent.tasks.stopping();
    agent.tasks.spawn("cluster loop", async move {
        let run = async {
            loop {
                let pause = match cluster.turn().await {
                    Turn::Rest(pause) => pause,
                    Turn::Failed => {
                        // News come all the time; what was refused is not asked more often.
                        time::pause(AFTER_FAILURE).await;
                        continue;
                    }
                };
                let _ = tokio::time::timeout(pause, cluster.node.cluster_changed.notified()).await;
                // Reports come from every host; once in a while is enough to look at them.
                time::pause(TURN_LEAST).await;
            }
        };
        tokio::select! {
            () = run => {}
            () = stopping => {}
        }
    });
}

/// How a turn ended.
enum Turn {
    /// Look again at the next news, or after so long.
    Rest(Duration),
    /// A change was refused.
    Failed,
}

struct ClusterLoop {
    node: Arc<Node>,
    /// The spec in force, parsed once per revision.
    spec: CurrentSpec,
    /// With the members it asks.
    etcd: Option<(Vec<String>, EtcdClient)>,
}

impl ClusterLoop {
    async fn turn(&mut self) -> Turn {
        let status = self.node.raft.status().borrow().clone();
        let now_ms = time::boot_ms();
        let term = status.is_leader.then_some(status.term);
        self.node.reports().lead(term, now_ms);
        if !status.is_leader {
            self.node.leader_view.send_if_modified(|view| {
                let any = *view != LeaderView::default();
                *view = LeaderView::default();
                any
            });
            return Turn::Rest(SETTLED);
        }
        let state = self.node.state();
        let Some(spec) = self.spec.of(&state) else {
            return Turn::Rest(CHANGING);
        };
        let etcd_members = if spec.control_plane.mode == Mode::Managed && needs_etcd(&state) {
            self.etcd_members().await
        } else {
            None
        };
        // etcd may have taken its time: everything else is read after it.
        let state = self.node.state();
        let status = self.node.raft.status().borrow().clone();
        let now_ms = time::boot_ms();
        let reports = self.node.reports().aged(now_ms);
        let majority = fence_majority(&state, &reports);
        let (fence_majority_since_ms, turn_since_ms, leader_since_ms) = {
            let mut memory = self.node.reports();
            memory.fenced(majority, (status.term, state.lease.epoch), now_ms);
            memory.in_turn(state.arguments.in_turn(), now_ms);
            (
                memory.fence_majority_since_ms(),
                memory.turn_since_ms(),
                memory.leading_since_ms().unwrap_or(now_ms),
            )
        };
        let raft = raft_facts(&status);
        let plan = plan_cluster(&ClusterCx {
            spec: &spec,
            state: &state,
            reports: &reports,
            raft: &raft,
            leader_id: self.node.member.host_id,
            etcd_members: etcd_members.as_deref(),
            fence_majority_since_ms,
            turn_since_ms,
            leader_since_ms,
            now_ms,
        });
        let mut problems = plan.problems.clone();
        let mut waiting = match plan.status {
            PlanStatus::Waiting { why } => why,
            _ => String::new(),
        };
        let mut failed = false;
        let mut pause = if plan.effects.is_empty() {
            SETTLED
        } else {
            CHANGING
        };
        if let Some(wake) = plan.wake {
            pause = pause.min(Duration::from_millis(wake.saturating_sub(now_ms)));
        }
        for effect in plan.effects {
            let told = format!("{effect:?}");
            match self.carry(effect).await {
                Ok(()) => tracing::info!(effect = told, "membership changed"),
                Err(refused) => {
                    tracing::info!(%refused, "a membership change waits");
                    waiting = format!("{}: {}", refused.doing, refused.wrong);
                    problems.push(problem("", &refused));
                    failed = true;
                    break;
                }
            }
        }
        self.node.leader_view.send_replace(LeaderView {
            etcd_members,
            waiting,
            problems,
        });
        if failed {
            Turn::Failed
        } else {
            Turn::Rest(pause)
        }
    }

    fn peer(&self, host_id: u64) -> Result<Peer, Refused> {
        self.node
            .state()
            .host_by_id(host_id)
            .map(|host| Peer {
                id: host.id,
                address: host.agent_address().to_string(),
            })
            .ok_or_else(|| {
                Refused::new(
                    "KHA2020",
                    "change the agents' membership",
                    format!("there is no host with id {host_id}"),
                    "report this as a bug",
                )
            })
    }

    async fn carry(&mut self, effect: Effect) -> Result<(), Refused> {
        match effect {
            Effect::RaftAddLearner { host_id } => self
                .node
                .raft
                .add_learner(&self.peer(host_id)?)
                .await
                .map_err(|e| raft_refused("add an agent as learner", &e)),
            Effect::RaftPromote { host_id } => self
                .node
                .raft
                .promote(host_id)
                .await
                .map_err(|e| raft_refused("make an agent a voter", &e)),
            Effect::RaftRemove { host_id } => self
                .node
                .raft
                .remove(host_id)
                .await
                .map_err(|e| raft_refused("take an agent out of consensus", &e)),
            Effect::RaftTransfer { host_id } => self
                .node
                .raft
                .transfer_leader(host_id)
                .await
                .map_err(|e| raft_refused("hand leadership over", &e)),
            Effect::EtcdRemove {
                host_name,
                member_id,
            } => {
                let doing = format!("take the etcd member of {host_name} out");
                self.etcd(&doing)?
                    .member_remove(member_id)
                    .await
                    .map_err(|e| host_refused(&doing, &e))
            }
            Effect::EtcdAddLearner {
                host_name,
                peer_url,
            } => {
                let doing = format!("add the etcd member of {host_name}");
                self.etcd(&doing)?
                    .member_add(&[peer_url], true)
                    .await
                    .map(drop)
                    .map_err(|e| host_refused(&doing, &e))
            }
            Effect::EtcdPromote {
                host_name,
                member_id,
            } => {
                let doing = format!("give the etcd member of {host_name} its vote");
                self.etcd(&doing)?
                    .member_promote(member_id)
                    .await
                    .map_err(|e| host_refused(&doing, &e))
            }
            // Here or nowhere: what this leader saw, another one may not rely on (M2).
            Effect::Propose(command) => {
                let actor = format!("host:{}", self.node.member.host_name);
                self.node.propose_here(&actor, command).await.map(drop)
            }
            // These concern one host and come from its own plan alone.
            Effect::EnsureFolder { .. }
            | Effect::WriteFile { .. }
            | Effect::IssueCertificate { .. }
            | Effect::EnsureProcess(_)
            | Effect::StopProcess { .. }
            | Effect::EndHung { .. }
            | Effect::FeedVip(_) => Ok(()),
        }
    }

    /// The client of this host's own member.
    fn etcd(&mut self, doing: &str) -> Result<&EtcdClient, Refused> {
        let endpoints = self.endpoints();
        if self
            .etcd
            .as_ref()
            .is_none_or(|(known, _)| *known != endpoints)
        {
            let read = |file: &str| {
                let path = self.node.config.data(&format!("pki/khad/{file}"));
                std::fs::read(&path).map_err(|error| {
                    Refused::new(
                        "KHA3062",
                        doing,
                        format!("{}: {error}", path.display()),
                        "wait until this host's certificates are issued",
                    )
                })
            };
            let material = TlsMaterial {
                ca_pem: read("etcd-ca.crt")?,
                identity: Some((read("etcd-client.crt")?, read("etcd-client.key")?)),
            };
            let tls = material
                .client_config("asking etcd", Alpn::H2)
                .map_err(|error| host_refused(doing, &error))?;
            // A host may lead the agents before its own member has a vote: ask every voter.
            let client = EtcdClient::new(&endpoints, &tls, ETCD_TIMEOUT)
                .map_err(|error| host_refused(doing, &error))?;
            self.etcd = Some((endpoints, client));
        }
        self.etcd
            .as_ref()
            .map(|(_, client)| client)
            .ok_or_else(|| Refused::new("KHA3062", doing, "there is no client", "try again"))
    }

    /// The members with a vote, this host's own first.
    fn endpoints(&self) -> Vec<String> {
        let own = self.node.member.host_id;
        let mut voters: Vec<_> = self
            .node
            .state()
            .hosts
            .into_values()
            .filter(|h| h.etcd.stage == EtcdStage::Voter && h.removal.is_none())
            .collect();
        voters.sort_by_key(|h| (h.id != own, h.id));
        voters.iter().map(Host::etcd_client_url).collect()
    }

    async fn etcd_members(&mut self) -> Option<Vec<EtcdMemberFact>> {
        let client = self.etcd("list etcd's members").ok()?;
        match client.member_list(true).await {
            Ok(members) => Some(
                members
                    .into_iter()
                    .map(|member| EtcdMemberFact {
                        id: member.id,
                        name: member.name,
                        peer_urls: member.peer_urls,
                        learner: member.learner,
                    })
                    .collect(),
            ),
            Err(error) => {
                // A renewed certificate is read again with a new client.
                self.etcd = None;
                tracing::debug!(error = %crate::refused::chain(&error), "etcd did not list its members");
                None
            }
        }
    }
}

/// What a removal would do, as this leader sees the cluster now.
///
/// # Errors
/// This host does not lead, or it cannot read the spec.
pub fn judge(node: &Node, host_id: u64) -> Result<Verdict, Refused> {
    let doing = "judge a removal";
    let status = node.raft.status().borrow().clone();
    if !status.is_leader {
        let error = khactl_raft::Error::NotLeader {
            leader: status.leader,
        };
        return Err(raft_refused(doing, &error));
    }
    let state = node.state();
    let spec = state
        .spec_yaml()
        .and_then(|yaml| ClusterSpec::parse(yaml).ok())
        .ok_or_else(|| {
            Refused::new(
                "KHA3048",
                doing,
                "the cluster state holds no spec yet",
                "wait until this host has caught up with the others, then try again",
            )
        })?;
    let now_ms = time::boot_ms();
    let reports = node.reports().aged(now_ms);
    let etcd_members = node.leader_view.borrow().etcd_members.clone();
    Ok(judge_removal(
        &ClusterCx {
            spec: &spec,
            state: &state,
            reports: &reports,
            raft: &raft_facts(&status),
            leader_id: node.member.host_id,
            etcd_members: etcd_members.as_deref(),
            fence_majority_since_ms: None,
            turn_since_ms: None,
            leader_since_ms: now_ms,
            now_ms,
        },
        host_id,
    ))
}

fn raft_facts(status: &khactl_raft::Status) -> RaftFacts {
    RaftFacts {
        voters: status.voters.iter().map(|p| p.id).collect(),
        learners: status.learners.iter().map(|p| p.id).collect(),
        matched: status.matched.clone(),
        last_log: status.last_log,
        changing: status.changing,
    }
}

/// Whether a member's stage or id is still open, or a member is to leave.
fn needs_etcd(state: &ClusterState) -> bool {
    state.hosts.values().any(|h| {
        h.etcd.stage != EtcdStage::Voter
            || h.etcd.member_id == 0
            || !h.etcd.started
            || h.removal.is_some()
    })
}
