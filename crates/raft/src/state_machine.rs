//! openraft's state machine around a [`Machine`].
//!
//! The machine lives in memory under a short lock. Only snapshots are stored; at start
//! openraft restores the last one and applies the committed log after it again.

use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use khactl_proto::v1;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use rocksdb::WriteBatch;
use tokio::sync::{Mutex, watch};

use crate::store::{SNAPSHOT, Store};
use crate::types::{Answer, LogId, Snapshot, SnapshotMeta, StoredMembership, Types};
use crate::writer::Writer;
use crate::{Machine, codec, convert};

/// The machine and where it stands.
#[derive(Debug)]
struct State<M> {
    machine: M,
    applied: Option<LogId>,
    membership: StoredMembership,
}

/// What the state machine's task and the readers share.
#[derive(Debug)]
pub(crate) struct Shared<M> {
    state: RwLock<State<M>>,
    applied: watch::Sender<u64>,
}

impl<M: Machine> Shared<M> {
    pub(crate) fn new(machine: M) -> Self {
        let state = State {
            machine,
            applied: None,
            membership: StoredMembership::default(),
        };
        Self {
            state: RwLock::new(state),
            applied: watch::Sender::new(0),
        }
    }

    /// Looks at the machine. The lock is held meanwhile.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        look(&self.reading().machine)
    }

    /// The index applied last; 0 before the first.
    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    // A panic under the lock would be a reader's: the machine itself never panics, so what
    // the lock guards is whole.
    fn reading(&self) -> RwLockReadGuard<'_, State<M>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> RwLockWriteGuard<'_, State<M>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, applied: Option<&LogId>) {
        self.applied.send_replace(applied.map_or(0, |id| id.index));
    }
}

/// What openraft drives.
#[derive(Debug)]
pub(crate) struct StateMachine<M> {
    shared: Arc<Shared<M>>,
    snapshots: Arc<Snapshots>,
}

/// Where snapshots are kept; one at a time is stored.
#[derive(Debug)]
struct Snapshots {
    store: Arc<Store>,
    writer: Writer,
    /// Held from the look at the stored snapshot until the new one is stored: one that is
    /// built slowly must not replace a newer one that was installed meanwhile.
    storing: Mutex<()>,
}

impl Snapshots {
    fn stored(&self) -> io::Result<Option<Snapshot>> {
        self.store
            .read_snapshot()
            .map_err(|e| e.into_io("reading the snapshot"))
    }

    /// Stores the snapshot unless a newer one is there, and returns the one that is.
    async fn keep(&self, snapshot: Snapshot) -> io::Result<Snapshot> {
        let _storing = self.storing.lock().await;
        if let Some(stored) = self.stored()?
            && stored.meta.last_log_id >= snapshot.meta.last_log_id
        {
            return Ok(stored);
        }
        let record = v1::RaftSnapshot {
            meta: Some(convert::meta_to(&snapshot.meta)),
            data: snapshot.snapshot.clone(),
        };
        let mut batch = WriteBatch::default();
        batch.put(SNAPSHOT, codec::encode(&record));
        self.writer.durable(batch).await?;
        Ok(snapshot)
    }
}

impl<M: Machine> StateMachine<M> {
    pub(crate) fn new(shared: Arc<Shared<M>>, store: Arc<Store>, writer: Writer) -> Self {
        let snapshots = Snapshots {
            store,
            writer,
            storing: Mutex::new(()),
        };
        Self {
            shared,
            snapshots: Arc::new(snapshots),
        }
    }
}

/// A view of the machine, ready to be stored.
#[derive(Debug)]
pub(crate) struct Builder {
    view: Snapshot,
    snapshots: Arc<Snapshots>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        self.snapshots.keep(self.view.clone()).await
    }
}

impl<M: Machine> RaftStateMachine<Types> for StateMachine<M> {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let state = self.shared.reading();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let answer = {
                let mut state = self.shared.writing();
                state.applied = Some(entry.log_id);
                match entry.payload {
                    EntryPayload::Blank => Vec::new(),
                    EntryPayload::Normal(command) => {
                        state.machine.apply(entry.log_id.index, &command.0)
                    }
                    EntryPayload::Membership(membership) => {
                        state.membership = StoredMembership::new(Some(entry.log_id), membership);
                        Vec::new()
                    }
                }
            };
            self.shared.announce(Some(&entry.log_id));
            if let Some(responder) = responder {
                responder.send(Answer(answer));
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let state = self.shared.reading();
        let view = Snapshot {
            meta: SnapshotMeta {
                last_log_id: state.applied,
                last_membership: state.membership.clone(),
            },
            snapshot: state.machine.snapshot().into(),
        };
        Builder {
            view,
            snapshots: self.snapshots.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Bytes,
    ) -> Result<(), io::Error> {
        self.snapshots
            .keep(Snapshot {
                meta: meta.clone(),
                snapshot: snapshot.clone(),
            })
            .await?;
        {
            let mut state = self.shared.writing();
            state
                .machine
                .restore(&snapshot)
                .map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))?;
            state.applied = meta.last_log_id;
            state.membership = meta.last_membership.clone();
        }
        self.shared.announce(meta.last_log_id.as_ref());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        self.snapshots.stored()
    }
}
