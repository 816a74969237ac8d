//! A running member: consensus, the way to the other agents, and what the leader remembers.
//!
//! Everything that changes the replicated state goes through [`Node::propose`]; on a host
//! that does not lead it is passed to the leader.

use khactl_model::command::{Command, Entry};
use khactl_model::facts::{EtcdMemberFact, HostReport};
use khactl_model::state::{ClusterState, Host};
use khactl_model::status::Problem;
use khactl_plan::HostPlan;
use khactl_proto::entry;
use khactl_proto::v1::{self, peer_client::PeerClient};
use khactl_raft::Raft;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

use crate::config::Config;
use crate::machine::ClusterMachine;
use crate::member::Member;
use crate::net::Peers;
use crate::overview::RaftView;
use crate::refused::{Refused, chain};
use crate::renewal::OwnLeaf;
use crate::reports::Reports;
use crate::standing::Standing;
use crate::takeover::{Fences, Identities};
use crate::time;
use crate::unready::Unready;
use crate::vip_loop::VipView;
use khactl_pki::SealingKey;

/// How long a change may wait for a leader.
const PROPOSE_TIMEOUT: Duration = Duration::from_secs(15);

/// What the host loop last saw and planned.
#[derive(Debug, Clone, Default)]
pub struct HostView {
    /// The plan, with each component's status.
    pub plan: HostPlan,
    /// The report as it goes to the leader.
    pub report: Option<HostReport>,
    /// What went wrong in carrying effects out.
    pub failures: Vec<Problem>,
}

/// What the cluster loop of a leader last saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaderView {
    /// etcd's members as they were last listed.
    pub etcd_members: Option<Vec<EtcdMemberFact>>,
    /// What the next change of membership waits for; empty if none is due.
    pub waiting: String,
    /// What the plan, or carrying it out, found wrong.
    pub problems: Vec<Problem>,
}

/// A running member.
#[derive(Debug)]
pub struct Node {
    /// The agent's configuration.
    pub config: Arc<Config>,
    /// Who this host is.
    pub member: Member,
    /// Consensus.
    pub raft: Raft<ClusterMachine>,
    /// The other agents.
    pub peers: Arc<Peers>,
    /// Opens the authorities' keys.
    pub sealing: SealingKey,
    /// What the hosts told this leader.
    reports: Mutex<Reports>,
    /// What the hosts told of their fences.
    pub fences: Fences,
    /// Whose API server fails its own readiness probe, as the leader tells.
    pub unready: Unready,
    /// Whose identity this host's processes were seen with.
    pub identities: Identities,
    /// What the host loop last saw.
    pub host_view: watch::Sender<HostView>,
    /// What the leader's loop last saw.
    pub leader_view: watch::Sender<LeaderView>,
    /// What khavip's loop last saw.
    pub vip_view: watch::Sender<VipView>,
    /// Why the bundle that the spec names is not on this host yet; none while it is there.
    pub bundle_problem: watch::Sender<Option<Problem>>,
    /// The agent's own certificate.
    pub leaf: watch::Sender<OwnLeaf>,
    /// Something happened: plan again.
    pub changed: Notify,
    /// Something happened that concerns khavip's loop.
    pub vip_changed: Notify,
    /// Something happened that concerns the leader's loop.
    pub cluster_changed: Notify,
    /// A linearizable read has succeeded since this start (docs/lease.md, A8).
    pub confirmed: AtomicBool,
    /// Whether this host is still one of the cluster.
    pub standing: Standing,
}

impl Node {
    /// Puts a node together around a started consensus.
    pub fn new(
        config: Arc<Config>,
        member: Member,
        raft: Raft<ClusterMachine>,
        peers: Arc<Peers>,
        sealing: SealingKey,
    ) -> Self {
        Self {
            config,
            member,
            raft,
            peers,
            sealing,
            reports: Mutex::default(),
            fences: Fences::default(),
            unready: Unready::default(),
            identities: Identities::default(),
            host_view: watch::channel(HostView::default()).0,
            leader_view: watch::channel(LeaderView::default()).0,
            vip_view: watch::channel(VipView::default()).0,
            bundle_problem: watch::channel(None).0,
            leaf: watch::channel(OwnLeaf::default()).0,
            changed: Notify::new(),
            vip_changed: Notify::new(),
            cluster_changed: Notify::new(),
            confirmed: AtomicBool::new(false),
            standing: Standing::default(),
        }
    }

    /// A copy of the state as of the last entry that this host applied.
    pub fn state(&self) -> ClusterState {
        self.raft.with_machine(|machine| machine.state().clone())
    }

    /// This host's record, once its admission has been applied here.
    pub fn host(&self) -> Option<Host> {
        self.raft
            .with_machine(|machine| machine.state().host_by_id(self.member.host_id).cloned())
    }

    /// The leader's memory.
    pub fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As the leader: a host has reported, at that boot time. Gives the hosts whose API servers are not to get anything new.
    pub fn heard(&self, report: HostReport, now_ms: u64) -> BTreeSet<u64> {
        let mut reports = self.reports();
        reports.insert(report, now_ms);
        self.cluster_changed.notify_one();
        reports.unready(now_ms)
    }

    /// The leader has told whose API server fails its readiness probe, at that boot time or later.
    pub fn learn_unready(&self, hosts: BTreeSet<u64>, told_ms: u64) {
        if self.unready.learn(hosts, told_ms) {
            self.vip_changed.notify_one();
        }
    }

    /// Raft as this host sees it.
    pub fn raft_view(&self) -> RaftView {
        let status = self.raft.status().borrow().clone();
        // A leader that was cut off is not told so: it knows by the silence of its quorum.
        let lease = Duration::from_millis(self.member.raft.election_max_ms);
        let leading = status.is_leader
            && self
                .raft
                .last_quorum_acked()
                .is_some_and(|age| age < lease * 2);
        RaftView {
            leader: status
                .leader
                .as_ref()
                .map(|p| p.id)
                .filter(|_| leading || !status.is_leader),
            term: status.term,
            voters: status.voters.iter().map(|p| p.id).collect(),
            learners: status.learners.iter().map(|p| p.id).collect(),
            leading,
        }
    }

    /// The leader's agent, where it is another host.
    pub fn leader_address(&self) -> Option<SocketAddr> {
        let leader = self.raft.leader()?;
        (leader.id != self.member.host_id)
            .then(|| leader.address.parse().ok())
            .flatten()
    }

    /// A client of another agent.
    pub fn peer(&self, address: SocketAddr) -> PeerClient<tonic::transport::Channel> {
        PeerClient::new(self.peers.channel(address))
    }

    /// Puts a command into the log and returns the number that applying it gave. Waits for a
    /// leader; tries again only where the command has certainly not been taken.
    ///
    /// # Errors
    /// The state's refusal, or that no quorum answered.
    pub async fn propose(&self, actor: &str, command: Command) -> Result<u64, Refused> {
        let doing = "change the cluster's state";
        // These do no harm when they are applied twice, so that an answer that was lost with a
        // leader is asked for again.
        let repeatable = matches!(
            command,
            Command::RecordStep { .. }
                | Command::StartOperation { .. }
                | Command::SetEtcdStage(_)
                | Command::AdmitHost(_)
                | Command::DropToken { .. }
                | Command::StartRemoval { .. }
                | Command::AbortRemoval { .. }
        );
        let bytes = entry::encode(&Entry {
            actor: actor.to_owned(),
            at_ms: time::wall_ms(),
            command,
        });
        let deadline = khactl_sys::clock::boottime() + PROPOSE_TIMEOUT;
        let answer = loop {
            let late = khactl_sys::clock::boottime() >= deadline;
            let outcome = match self.leader_address() {
                Some(address) => self
                    .peer(address)
                    .propose(time::within(
                        PROPOSE_TIMEOUT,
                        v1::ProposeRequest {
                            entry: bytes.clone().into(),
                        },
                    ))
                    .await
                    .map(|r| r.into_inner().answer.to_vec())
                    .map_err(|s| {
                        // The other agent is not the leader any more, or was not reached at all.
                        let untaken = s.code() == tonic::Code::Aborted;
                        (untaken, Refused::of_call(doing, &s))
                    }),
                None => self.raft.propose(bytes.clone()).await.map_err(|error| {
                    let untaken = matches!(error, khactl_raft::Error::NotLeader { .. });
                    (untaken, raft_refused(doing, &error))
                }),
            };
            match outcome {
                Ok(answer) => break answer,
                Err((untaken, _)) if !late && (untaken || repeatable) => {
                    time::pause(Duration::from_millis(50)).await;
                }
                Err((_, refused)) => return Err(refused),
            }
        };
        answered(doing, &answer)
    }

    /// The same on this host alone: nothing is passed on, and nothing is tried again.
    ///
    /// # Errors
    /// The state's refusal, or that this host does not lead, or that no quorum answered.
    pub async fn propose_here(&self, actor: &str, command: Command) -> Result<u64, Refused> {
        let doing = "change the cluster's state";
        let bytes = entry::encode(&Entry {
            actor: actor.to_owned(),
            at_ms: time::wall_ms(),
            command,
        });
        let answer = self
            .raft
            .propose(bytes)
            .await
            .map_err(|error| raft_refused(doing, &error))?;
        answered(doing, &answer)
    }

    /// Waits until this host has applied all that a quorum had agreed on when this was called.
    ///
    /// # Errors
    /// No quorum answered.
    pub async fn barrier(&self) -> Result<(), Refused> {
        let doing = "read the cluster's state";
        let index = match self.leader_address() {
            Some(address) => {
                self.peer(address)
                    .barrier(time::within(Duration::from_secs(3), v1::BarrierRequest {}))
                    .await
                    .map_err(|s| Refused::of_call(doing, &s))?
                    .into_inner()
                    .index
            }
            None => self
                .raft
                .linearizable()
                .await
                .map_err(|error| raft_refused(doing, &error))?,
        };
        let mut applied = self.raft.applied();
        tokio::time::timeout(Duration::from_secs(3), applied.wait_for(|at| *at >= index))
            .await
            .map_err(|_| ())
            .and_then(|r| r.map(drop).map_err(|_| ()))
            .map_err(|()| {
                Refused::new(
                    "KHA3012",
                    doing,
                    "this host is behind the others",
                    "wait until it has caught up",
                )
                .late()
            })
    }
}

/// What applying an entry gave.
fn answered(doing: &str, answer: &[u8]) -> Result<u64, Refused> {
    match entry::decode_answer(answer) {
        Ok(Ok(number)) => Ok(number),
        Ok(Err(rejected)) => Err(Refused::new(
            &rejected.code,
            doing,
            rejected.wrong,
            rejected.advice,
        )),
        Err(error) => Err(Refused::new(
            "KHA3011",
            doing,
            chain(&error),
            "run the same version of khad on all hosts",
        )),
    }
}

/// Consensus' own words as a refusal.
pub fn raft_refused(doing: &str, error: &khactl_raft::Error) -> Refused {
    use khactl_raft::Error;
    let (kind, code) = match error {
        Error::NotLeader { .. } => (tonic::Code::Aborted, "KHA3013"),
        Error::NoQuorum { .. } => (tonic::Code::Unavailable, "KHA3014"),
        Error::OutcomeUnknown => (tonic::Code::Unknown, "KHA3015"),
        Error::DiskFull { .. } => (tonic::Code::ResourceExhausted, "KHA3016"),
        _ => (tonic::Code::Internal, "KHA3017"),
    };
    let mut refused = Refused::new(
        code,
        doing,
        chain(error),
        "see `khactl status` for what is wrong with the agents",
    );
    refused.kind = kind;
    refused
}
