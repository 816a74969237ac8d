//! The RocksDB under consensus: its keys, its settings, its reads.
//!
//! Writes go through [`crate::writer::Writer`] alone. One column family: each more costs a
//! memtable, and a batch over one is atomic without further ado.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use khactl_proto::v1;
use prost::Message;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Direction, IteratorMode, LogLevel, Options,
    ReadOptions,
};
use tokio::sync::oneshot;

use crate::codec::{self, CodecError};
use crate::types::{Entry, LogId, Snapshot, Vote};
use crate::{Config, Error, Machine, convert};

pub(crate) const OWNER: &[u8] = b"m/owner";
pub(crate) const VOTE: &[u8] = b"m/vote";
pub(crate) const COMMITTED: &[u8] = b"m/committed";
pub(crate) const PURGED: &[u8] = b"m/purged";
pub(crate) const SNAPSHOT: &[u8] = b"m/snapshot";
const LOG: u8 = b'l';
/// The first key behind the log's.
pub(crate) const LOG_END: &[u8] = b"m";

/// A memtable's size. The whole log between two snapshots is smaller than two of them.
const MEMTABLE_BYTES: usize = 1024 * 1024;
/// The log is read from memtables; the cache only helps at start.
const CACHE_BYTES: usize = 1024 * 1024;

/// The key of the entry at `index`: big-endian, so that keys sort as indexes do.
pub(crate) fn log_key(index: u64) -> [u8; 9] {
    let mut key = [LOG; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

/// The open store.
pub(crate) struct Store {
    db: DB,
    path: PathBuf,
    /// Its drop is the news that the store is closed: fields drop in order, so the database
    /// has let go of its lock by then.
    _closed: oneshot::Sender<()>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

fn options() -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES));
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(MEMTABLE_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_max_background_jobs(2);
    options.set_max_open_files(64);
    options.set_max_total_wal_size(8 * MEMTABLE_BYTES as u64);
    options.set_max_manifest_file_size(1024 * 1024);
    // A missing or shortened write-ahead log must not pass for a shorter history.
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(512 * 1024);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

impl Store {
    /// Opens or makes the store of `config`, and reads all of it once: an agent that meets a
    /// record it cannot read must refuse to start, not stop in the middle of its work.
    ///
    /// The receiver resolves, to an error, once the store has been closed again.
    pub(crate) fn open<M: Machine>(
        config: &Config,
    ) -> Result<(Self, oneshot::Receiver<()>), Error> {
        let path = config.data_dir.clone();
        make_private(&path)?;
        let db = DB::open(&options(), &path).map_err(|source| Error::Open {
            path: path.clone(),
            source: source.into(),
        })?;
        let (closed, on_close) = oneshot::channel();
        let store = Self {
            db,
            path,
            _closed: closed,
        };
        store.own(config)?;
        store.verify::<M>()?;
        Ok((store, on_close))
    }

    /// Checks whose store this is; a fresh one is marked as `config`'s.
    fn own(&self, config: &Config) -> Result<(), Error> {
        let me = v1::RaftOwner {
            cluster: config.cluster.clone(),
            node_id: config.node_id,
        };
        let Some(bytes) = self.raw(OWNER)? else {
            let mut durable = rocksdb::WriteOptions::default();
            durable.set_sync(true);
            return self
                .db
                .put_opt(OWNER, codec::encode(&me), &durable)
                .map_err(|source| Error::Open {
                    path: self.path.clone(),
                    source: source.into(),
                });
        };
        let owner: v1::RaftOwner =
            codec::decode(&bytes).map_err(|error| self.unreadable("the owner", &error))?;
        if owner != me {
            let name = |o: &v1::RaftOwner| format!("node {} of cluster {}", o.node_id, o.cluster);
            return Err(Error::Foreign {
                path: self.path.clone(),
                found: name(&owner),
                expected: name(&me),
            });
        }
        Ok(())
    }

    /// Reads every record once.
    fn verify<M: Machine>(&self) -> Result<(), Error> {
        self.read_vote()
            .map_err(|e| self.unreadable("the vote", &e))?;
        self.read_log_id(COMMITTED)
            .map_err(|e| self.unreadable("the committed position", &e))?;
        let purged = self
            .read_log_id(PURGED)
            .map_err(|e| self.unreadable("the purged position", &e))?;
        if let Some(snapshot) = self
            .read_snapshot()
            .map_err(|e| self.unreadable("the snapshot", &e))?
        {
            M::check_snapshot(&snapshot.snapshot)
                .map_err(|reason| self.newer("a snapshot".to_owned(), reason))?;
        }
        let mut expected = purged.map(|id| id.index + 1);
        for item in self
            .db
            .iterator(IteratorMode::From(&log_key(0), Direction::Forward))
        {
            let (key, value) = item.map_err(|source| Error::Open {
                path: self.path.clone(),
                source: source.into(),
            })?;
            let Some(index) = log_index(&key) else { break };
            let what = format!("log entry {index}");
            let entry = convert::entry_from_bytes(&Bytes::from(value.into_vec()))
                .map_err(|e| self.unreadable(&what, &e))?;
            if entry.log_id.index != index || expected.is_some_and(|want| want != index) {
                return Err(Error::Damaged {
                    path: self.path.clone(),
                    what,
                    reason: format!("expected is entry {}", expected.unwrap_or(index)),
                });
            }
            if let openraft::EntryPayload::Normal(command) = &entry.payload {
                M::check_command(&command.0).map_err(|reason| self.newer(what, reason))?;
            }
            expected = Some(index + 1);
        }
        Ok(())
    }

    fn newer(&self, what: String, reason: String) -> Error {
        Error::Newer {
            path: self.path.clone(),
            what,
            reason,
        }
    }

    fn unreadable(&self, what: &str, error: &CodecError) -> Error {
        let (path, what, reason) = (self.path.clone(), what.to_owned(), codec::chain(error));
        match error {
            CodecError::Newer { .. } => Error::Newer { path, what, reason },
            _ => Error::Damaged { path, what, reason },
        }
    }

    fn raw(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let value = self.db.get(key).map_err(|source| Error::Open {
            path: self.path.clone(),
            source: source.into(),
        })?;
        Ok(value.map(Bytes::from))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The database, for the one writer.
    pub(crate) fn db(&self) -> &DB {
        &self.db
    }

    fn read<M: Message + Default>(&self, key: &[u8]) -> Result<Option<M>, CodecError> {
        let value = self
            .db
            .get(key)
            .map_err(|error| CodecError::Invalid(error.into_string()))?;
        value.map(|bytes| codec::decode(&bytes.into())).transpose()
    }

    pub(crate) fn read_vote(&self) -> Result<Option<Vote>, CodecError> {
        Ok(self.read(VOTE)?.map(convert::vote_from))
    }

    /// The position stored under [`COMMITTED`] or [`PURGED`].
    pub(crate) fn read_log_id(&self, key: &[u8]) -> Result<Option<LogId>, CodecError> {
        Ok(self.read(key)?.map(convert::log_id_from))
    }

    pub(crate) fn read_snapshot(&self) -> Result<Option<Snapshot>, CodecError> {
        let Some(stored) = self.read::<v1::RaftSnapshot>(SNAPSHOT)? else {
            return Ok(None);
        };
        let meta = convert::meta_from(stored.meta.ok_or(CodecError::Missing("meta"))?)?;
        Ok(Some(Snapshot {
            meta,
            snapshot: stored.data,
        }))
    }

    /// The id of the last entry in the log, if it has any.
    pub(crate) fn last_log_id(&self) -> Result<Option<LogId>, CodecError> {
        let mut before = ReadOptions::default();
        before.set_iterate_upper_bound(LOG_END);
        let mut backward = self.db.iterator_opt(IteratorMode::End, before);
        let Some(item) = backward.next() else {
            return Ok(None);
        };
        let (_, value) = item.map_err(|error| CodecError::Invalid(error.into_string()))?;
        Ok(Some(
            convert::entry_from_bytes(&Bytes::from(value.into_vec()))?.log_id,
        ))
    }

    /// The entries in `[start, end)` that exist, in order. Stops once they have more than
    /// `max_bytes`, but never before the first.
    pub(crate) fn entries(
        &self,
        start: u64,
        end: u64,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, CodecError> {
        if start >= end {
            return Ok(Vec::new());
        }
        let mut within = ReadOptions::default();
        within.set_iterate_upper_bound(log_key(end).to_vec());
        let from = log_key(start);
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        for item in self
            .db
            .iterator_opt(IteratorMode::From(&from, Direction::Forward), within)
        {
            let (_, value) = item.map_err(|error| CodecError::Invalid(error.into_string()))?;
            bytes += value.len();
            let entry = convert::entry_from_bytes(&Bytes::from(value.into_vec()))?;
            let index = entry.log_id.index;
            if entries
                .last()
                .is_some_and(|last| last.log_id.index + 1 != index)
            {
                return Err(CodecError::Invalid(format!(
                    "the log lacks the entry before {index}"
                )));
            }
            entries.push(entry);
            if bytes >= max_bytes {
                break;
            }
        }
        Ok(entries)
    }
}

fn log_index(key: &[u8]) -> Option<u64> {
    let digits: [u8; 8] = key.strip_prefix(&[LOG])?.try_into().ok()?;
    Some(u64::from_be_bytes(digits))
}

fn make_private(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    let failed = |source: std::io::Error| Error::Open {
        path: path.to_owned(),
        source: source.into(),
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed)
}
