//! openraft's log storage on the [`Store`].

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use rocksdb::WriteBatch;

use crate::config::MAX_APPEND_BYTES;
use crate::store::{COMMITTED, LOG_END, PURGED, Store, VOTE, log_key};
use crate::types::{Entry, LogId, Types, Vote};
use crate::writer::Writer;
use crate::{codec, convert};

/// The log and the vote.
#[derive(Debug, Clone)]
pub(crate) struct LogStore {
    store: Arc<Store>,
    writer: Writer,
}

impl LogStore {
    pub(crate) fn new(store: Arc<Store>, writer: Writer) -> Self {
        Self { store, writer }
    }
}

/// Reads the log, on its own.
#[derive(Debug, Clone)]
pub(crate) struct LogReader {
    store: Arc<Store>,
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(index) => index.saturating_add(1),
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<Types> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (start, end) = bounds(&range);
        self.store
            .entries(start, end, usize::MAX)
            .map_err(|e| e.into_io("reading the log"))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.store
            .entries(start, end, MAX_APPEND_BYTES)
            .map_err(|e| e.into_io("reading the log"))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.store
            .read_vote()
            .map_err(|e| e.into_io("reading the vote"))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let purged = self
            .store
            .read_log_id(PURGED)
            .map_err(|e| e.into_io("reading the purged position"))?;
        let last = self
            .store
            .last_log_id()
            .map_err(|e| e.into_io("reading the last log entry"))?;
        Ok(LogState {
            last_purged_log_id: purged,
            last_log_id: last.or(purged),
        })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader {
            store: self.store.clone(),
        }
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let mut batch = WriteBatch::default();
        batch.put(VOTE, codec::encode(&convert::vote_to(vote)));
        self.writer.durable(batch).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let mut batch = WriteBatch::default();
        match committed {
            Some(id) => batch.put(COMMITTED, codec::encode(&convert::log_id_to(&id))),
            None => batch.delete(COMMITTED),
        }
        // Not worth an fsync: what it lacks after a crash the next leader tells again. It lies
        // behind its entries in the write-ahead log, so it never points past them.
        self.writer.relaxed(batch).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        self.store
            .read_log_id(COMMITTED)
            .map_err(|e| e.into_io("reading the committed position"))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut batch = WriteBatch::default();
        for entry in entries {
            batch.put(log_key(entry.log_id.index), convert::entry_to_bytes(&entry));
        }
        self.writer.append(batch, callback).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let from = last_log_id.map_or(0, |id| id.index + 1);
        let mut batch = WriteBatch::default();
        batch.delete_range(&log_key(from)[..], LOG_END);
        self.writer.durable(batch).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let mut batch = WriteBatch::default();
        batch.delete_range(log_key(0), log_key(log_id.index + 1));
        batch.put(PURGED, codec::encode(&convert::log_id_to(&log_id)));
        // May be undone by a crash: the entries are in the snapshot, which is durable.
        self.writer.relaxed(batch).await
    }
}
