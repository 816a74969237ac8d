//! This host's member of the group: start, propose, read, stop.
//!
//! Changes of the group are in [`crate::membership`].

use std::fmt;
use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use khactl_proto::v1::raft_server::RaftServer;
use khactl_sys::clock;
use openraft::Instant as _;
use openraft::ReadPolicy;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{
    ChangeMembershipError, ClientWriteError, Fatal, ForwardToLeader, LinearizableReadError,
    RaftError,
};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::codec;
use crate::config::MAX_COMMAND_BYTES;
use crate::headroom::Headroom;
use crate::log_store::LogStore;
use crate::network::Network;
use crate::service::Member;
use crate::silence::Silence;
use crate::state_machine::{Shared, StateMachine};
use crate::store::Store;
use crate::types::{Command, Types};
use crate::writer::Writer;
use crate::{Config, Dial, Error, Machine, Peer, Service, Status};

/// The store closes in milliseconds; a disk that hangs must not hang the shutdown.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// This host's member of the group. Clones are handles to the same one.
pub struct Raft<M: Machine> {
    pub(crate) inner: Arc<Inner<M>>,
}

impl<M: Machine> Clone for Raft<M> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<M: Machine> fmt::Debug for Raft<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raft")
            .field("node_id", &self.inner.member.config.node_id)
            .finish()
    }
}

pub(crate) struct Inner<M: Machine> {
    pub(crate) member: Arc<Member<M>>,
    shared: Arc<Shared<M>>,
    pub(crate) status: watch::Receiver<Status>,
    /// One change of the group at a time.
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// The status forwarder and the end of the silence; they end with this value.
    tasks: std::sync::Mutex<JoinSet<()>>,
    /// Resolves when the store is closed; taken by the shutdown that waits for it.
    closed: std::sync::Mutex<Option<oneshot::Receiver<()>>>,
}

impl<M: Machine> Raft<M> {
    /// Starts this host's member on what its store holds. `machine` is the state before the
    /// first command; what was committed is applied to it before this returns.
    ///
    /// Must be called on a tokio runtime; consensus runs on it until [`Raft::shutdown`].
    pub async fn start(config: Config, machine: M, dial: Arc<dyn Dial>) -> Result<Self, Error> {
        let settings = config.raft().map_err(|error| Error::Config {
            reason: error.to_string(),
        })?;
        let path = config.data_dir.clone();
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::Start {
            path: path.clone(),
            source,
        };
        let opened = config.clone();
        let (store, closed) = tokio::task::spawn_blocking(move || Store::open::<M>(&opened))
            .await
            .map_err(|error| failed(error.into()))??;
        let store = Arc::new(store);
        // A member without a stored vote has never promised anything to anybody.
        let never_voted = store
            .read_vote()
            .map_err(|error| failed(error.into_io("reading the vote").into()))?
            .is_none();
        let writer = Writer::start(store.clone()).map_err(|error| failed(error.into()))?;
        let shared = Arc::new(Shared::new(machine));
        let raft = openraft::Raft::new(
            config.node_id,
            Arc::new(settings),
            Network::new(&config, dial),
            LogStore::new(store.clone(), writer.clone()),
            StateMachine::new(shared.clone(), store, writer),
        )
        .await
        .map_err(|error| failed(error.into()))?;

        let me = config.node_id;
        let sole_voter = raft
            .with_raft_state(move |state| {
                let members = &state.membership_state;
                let now: Vec<u64> = members.effective().voter_ids().collect();
                let before: Vec<u64> = members.committed().voter_ids().collect();
                // Both: while a change is under way the others may still lead under the old
                // membership. None before is a group that was just founded.
                now == [me] && (before == [me] || before.is_empty())
            })
            .await
            .map_err(|error| failed(error.into()))?;
        let lease = Duration::from_millis(config.lease_ms());
        let silence = Silence::new(clock::boottime(), lease, sole_voter || never_voted);

        let mut tasks = JoinSet::new();
        tasks.spawn(end_silence(raft.clone(), silence));
        let (publish, status) = watch::channel(Status::default());
        tasks.spawn(publish_status(raft.clone(), publish));
        let headroom = Headroom::new(&config.data_dir, config.reserve_bytes);
        Ok(Self {
            inner: Arc::new(Inner {
                member: Arc::new(Member {
                    raft,
                    config,
                    silence,
                    headroom,
                }),
                shared,
                status,
                changing: tokio::sync::Mutex::new(()),
                tasks: std::sync::Mutex::new(tasks),
                closed: std::sync::Mutex::new(Some(closed)),
            }),
        })
    }

    /// The gRPC service for other agents, to be added to the caller's router. The caller lets
    /// only other agents in.
    pub fn service(&self) -> RaftServer<Service<M>> {
        Service::server(self.inner.member.clone())
    }

    /// Founds a group with this host as its only voter, and returns when it leads. Does
    /// nothing if that was done before; fails if the group has other members.
    pub async fn initialize(&self, me: &Peer) -> Result<(), Error> {
        let raft = &self.inner.member.raft;
        if !raft
            .is_initialized()
            .await
            .map_err(|error| stopped(&error))?
        {
            let node = openraft::BasicNode::new(&me.address);
            let founded = raft
                .initialize(std::collections::BTreeMap::from([(me.id, node)]))
                .await;
            match founded {
                Ok(())
                | Err(RaftError::APIError(openraft::errors::InitializeError::NotAllowed(_))) => {}
                Err(error) => {
                    return Err(Error::Change {
                        reason: codec::chain(&error),
                    });
                }
            }
        }
        let status = self.wait(self.patience(), |status| {
            status.is_leader || status.voters.len() > 1
        });
        match status.await? {
            Some(status) if status.voters == [me.clone()] => Ok(()),
            Some(status) => Err(Error::Founded {
                members: status
                    .voters
                    .iter()
                    .map(Peer::to_string)
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
            None => Err(Error::NoQuorum {
                waited: self.patience(),
            }),
        }
    }

    /// Replicates a command and returns the machine's answer once a majority holds it and it
    /// is applied here. On the leader only.
    ///
    /// After [`Error::NoQuorum`], [`Error::OutcomeUnknown`] and [`Error::Stopped`] the command
    /// may still take effect; after any other error it will not.
    pub async fn propose(&self, command: Vec<u8>) -> Result<Vec<u8>, Error> {
        if command.len() > MAX_COMMAND_BYTES {
            return Err(Error::TooLarge {
                size: command.len(),
                limit: MAX_COMMAND_BYTES,
            });
        }
        M::check_command(&command).map_err(|reason| Error::Refused { reason })?;
        if self.is_leader() {
            self.inner.member.headroom.check(command.len())?;
        }
        let written = self.inner.member.raft.client_write(Command(command));
        let response = self.in_time(written).await?.map_err(write_error)?;
        Ok(response.data.0)
    }

    /// Confirms with a majority that this host still leads, and waits until its machine has
    /// everything that was acknowledged before the call. Returns the index applied. On the
    /// leader only.
    pub async fn linearizable(&self) -> Result<u64, Error> {
        let confirmed = self
            .inner
            .member
            .raft
            .ensure_linearizable(ReadPolicy::ReadIndex);
        match self.in_time(confirmed).await? {
            Ok(read) => Ok(read.index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to))) => {
                Err(not_leader(to))
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                let lease = self.inner.member.config.lease_ms();
                Err(Error::NoQuorum {
                    waited: Duration::from_millis(lease),
                })
            }
            Err(RaftError::Fatal(error)) => Err(stopped(&error)),
        }
    }

    /// Looks at the machine as far as it is applied here, which may be behind: call
    /// [`Raft::linearizable`] first where that matters. The machine waits meanwhile: copy
    /// what is needed and return.
    pub fn with_machine<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        self.inner.shared.read(look)
    }

    /// The index of the entry applied last; 0 before the first.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.inner.shared.applied()
    }

    /// This member's view of the group, and each change of it.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.inner.status.clone()
    }

    /// This member's id.
    pub fn node_id(&self) -> u64 {
        self.inner.member.config.node_id
    }

    /// Who leads, as far as this member knows.
    pub fn leader(&self) -> Option<Peer> {
        self.inner.status.borrow().leader.clone()
    }

    /// Whether this member believes that it leads; see [`Raft::last_quorum_acked`].
    pub fn is_leader(&self) -> bool {
        self.inner.status.borrow().is_leader
    }

    /// On the leader: how long ago it sent what a majority has since acknowledged. A leader
    /// cut off from its majority is not told so; this is how it knows. `None` elsewhere.
    pub fn last_quorum_acked(&self) -> Option<Duration> {
        let metrics = self.inner.member.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.state != openraft::ServerState::Leader {
            return None;
        }
        let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
        if voters == [metrics.id] {
            // It is its own majority; openraft keeps no time for it.
            return Some(Duration::ZERO);
        }
        metrics.last_quorum_acked.map(|acked| acked.elapsed())
    }

    /// Waits until consensus has stopped on this host, and says why. It does not start again
    /// by itself: the agent must be restarted.
    pub async fn stopped(&self) -> String {
        let mut status = self.inner.status.clone();
        // Bound apart, for the borrow of the watch to end before the receiver is dropped.
        let found = status.wait_for(|status| status.stopped.is_some()).await;
        found
            .ok()
            .and_then(|status| status.stopped.clone())
            .unwrap_or_else(|| "it was dropped".to_owned())
    }

    /// Stops this member and closes its store, without handing leadership over (see
    /// [`Raft::transfer_leader`]). Every other handle's calls fail from here on.
    pub async fn shutdown(&self) -> Result<(), Error> {
        let member = &self.inner.member;
        if let Err(error) = member.raft.shutdown().await {
            tracing::warn!(error = %codec::chain(&error), "consensus ended with an error");
        }
        self.inner
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .abort_all();
        let closed = self
            .inner
            .closed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(closed) = closed else { return Ok(()) };
        match tokio::time::timeout(CLOSE_MAX, closed).await {
            // The sender is dropped with the store; nothing is ever sent.
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Close {
                path: member.config.data_dir.clone(),
                waited: CLOSE_MAX,
            }),
        }
    }

    /// How long a proposal waits for a majority: an election and what may go wrong in it, and
    /// slow disks.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(5) + Duration::from_millis(self.inner.member.config.lease_ms() * 2)
    }

    pub(crate) async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        let waited = self.patience();
        tokio::time::timeout(waited, work)
            .await
            .map_err(|_| Error::NoQuorum { waited })
    }

    /// Waits for a status that pleases; `None` if none came in time.
    pub(crate) async fn wait(
        &self,
        limit: Duration,
        pleases: impl FnMut(&Status) -> bool,
    ) -> Result<Option<Status>, Error> {
        let mut status = self.inner.status.clone();
        match tokio::time::timeout(limit, status.wait_for(pleases)).await {
            Ok(Ok(found)) => Ok(Some(found.clone())),
            Ok(Err(_)) => Err(Error::Stopped {
                reason: "it was shut down".to_owned(),
            }),
            Err(_) => Ok(None),
        }
    }
}

/// Lets this member campaign when its silence is over.
async fn end_silence<M: Machine>(raft: openraft::Raft<Types, StateMachine<M>>, silence: Silence) {
    // The sleep's clock stops while the host is suspended, the silence's does not: look again.
    while let Some(left) = silence.remaining(clock::boottime()) {
        tokio::time::sleep(left).await;
    }
    raft.runtime_config().elect(true);
}

/// Turns openraft's metrics into [`Status`], when they differ.
async fn publish_status<M: Machine>(
    raft: openraft::Raft<Types, StateMachine<M>>,
    publish: watch::Sender<Status>,
) {
    let mut metrics = raft.metrics();
    loop {
        let status = Status::from_metrics(&metrics.borrow_watched());
        publish.send_if_modified(|last| {
            let changed = *last != status;
            *last = status;
            changed
        });
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

pub(crate) fn stopped(error: &Fatal<Types>) -> Error {
    Error::Stopped {
        reason: codec::chain(error),
    }
}

fn not_leader(to: ForwardToLeader<Types>) -> Error {
    let leader = to.leader_id.zip(to.leader_node);
    Error::NotLeader {
        leader: leader.map(|(id, node)| Peer {
            id,
            address: node.addr,
        }),
    }
}

pub(crate) fn write_error(error: RaftError<Types, ClientWriteError<Types>>) -> Error {
    match error {
        RaftError::Fatal(error) => stopped(&error),
        RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => not_leader(to),
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => Error::OutcomeUnknown,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
            // The second: a new leader has not committed anything of its own term yet.
            ChangeMembershipError::InProgress(_)
            | ChangeMembershipError::UncommittedLeaderLog(_) => Error::ChangeInProgress,
            ChangeMembershipError::LearnerNotFound(missing) => Error::UnknownMember {
                id: missing.node_id,
            },
            other => Error::Change {
                reason: codec::chain(&other),
            },
        },
        RaftError::APIError(error) => Error::Change {
            reason: codec::chain(&error),
        },
    }
}
