//! Tests of the storage: openraft's own suite, and what it does not cover.

use std::sync::Arc;

use openraft::StorageError;
use openraft::storage::{RaftLogStorage as _, RaftLogStorageExt as _};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::vote::RaftLeaderIdExt as _;
use openraft::{EntryPayload, RaftLogReader as _};
use tempfile::TempDir;

use crate::log_store::LogStore;
use crate::state_machine::{Shared, StateMachine};
use crate::store::{Store, log_key};
use crate::types::{Command, Entry, LogId, Types, Vote};
use crate::writer::Writer;
use crate::{Config, Error, Machine};

/// Keeps the last command. Commands that begin with `n` are of a newer version.
#[derive(Debug, Default)]
struct Last(Vec<u8>);

impl Machine for Last {
    fn apply(&mut self, _index: u64, command: &[u8]) -> Vec<u8> {
        self.0 = command.to_vec();
        Vec::new()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.0 = bytes.to_vec();
        Ok(())
    }

    fn check_command(command: &[u8]) -> Result<(), String> {
        if command.first() == Some(&b'n') {
            Err("command version 7".to_owned())
        } else {
            Ok(())
        }
    }
}

fn config(dir: &TempDir) -> Config {
    Config::new(0, "suite", dir.path().join("raft"), 50, (150, 300))
}

fn open(dir: &TempDir) -> Result<(LogStore, StateMachine<Last>), Error> {
    let (store, _closed) = Store::open::<Last>(&config(dir))?;
    let store = Arc::new(store);
    let writer = Writer::start(store.clone()).expect("a thread");
    let machine = StateMachine::new(
        Arc::new(Shared::new(Last::default())),
        store.clone(),
        writer.clone(),
    );
    Ok((LogStore::new(store, writer), machine))
}

/// Declared first and so dropped last: waits until every store of this process is closed. A
/// writer that closes RocksDB while the process ends meets locks that are gone already.
struct AllClosed;

impl Drop for AllClosed {
    fn drop(&mut self) {
        let writes = || {
            let tasks = std::fs::read_dir("/proc/self/task").expect("this process' threads");
            tasks.flatten().any(|task| {
                std::fs::read_to_string(task.path().join("comm"))
                    .is_ok_and(|name| name.trim() == "raft-writer")
            })
        };
        let deadline = khactl_sys::clock::monotonic() + std::time::Duration::from_secs(30);
        while writes() && khactl_sys::clock::monotonic() < deadline {
            std::thread::yield_now();
        }
    }
}

struct Builder;

impl StoreBuilder<Types, LogStore, StateMachine<Last>, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine<Last>), StorageError<Types>> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (log, machine) = open(&dir).expect("a fresh store");
        Ok((dir, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_storage_passes_openrafts_own_suite() {
    let _all_closed = AllClosed;
    Suite::test_all(Builder).await.expect("the suite passes");
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(
        openraft::impls::leader_id_std::LeaderId::new_committed(term, 0),
        index,
    )
}

fn entry(term: u64, index: u64, command: &[u8]) -> Entry {
    Entry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(Command(command.to_vec())),
    }
}

/// Opens again what another handle is about to let go of.
fn reopen(dir: &TempDir) -> Result<(LogStore, StateMachine<Last>), Error> {
    let deadline = khactl_sys::clock::monotonic() + std::time::Duration::from_secs(30);
    loop {
        match open(dir) {
            Err(Error::Open { .. }) if khactl_sys::clock::monotonic() < deadline => {
                std::thread::yield_now();
            }
            other => return other,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vote_log_and_committed_position_survive_a_reopen() {
    let _all_closed = AllClosed;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mut log, machine) = open(&dir).expect("a fresh store");
    let vote = Vote::new(4, 2);
    log.save_vote(&vote).await.expect("saved");
    let entries = (0..500).map(|index| entry(4, index, &index.to_be_bytes()));
    log.blocking_append(entries).await.expect("appended");
    log.purge(log_id(4, 99)).await.expect("purged");
    log.truncate_after(Some(log_id(4, 399)))
        .await
        .expect("truncated");
    log.save_committed(Some(log_id(4, 350)))
        .await
        .expect("saved");
    drop((log, machine));

    let (mut log, _machine) = reopen(&dir).expect("nothing is damaged");
    let mut reader = log.get_log_reader().await;
    assert_eq!(reader.read_vote().await.expect("read"), Some(vote));
    assert_eq!(
        log.read_committed().await.expect("read"),
        Some(log_id(4, 350))
    );
    let state = log.get_log_state().await.expect("read");
    assert_eq!(state.last_purged_log_id, Some(log_id(4, 99)));
    assert_eq!(state.last_log_id, Some(log_id(4, 399)));
    let held = reader.try_get_log_entries(0..1_000).await.expect("read");
    assert_eq!(held.len(), 300);
    assert_eq!(held[0], entry(4, 100, &100_u64.to_be_bytes()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_stops_at_its_byte_limit_but_not_before_the_first_entry() {
    let _all_closed = AllClosed;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mut log, _machine) = open(&dir).expect("a fresh store");
    let big = vec![0; 900 * 1024];
    log.blocking_append((0..6).map(|index| entry(1, index, &big)))
        .await
        .expect("appended");
    let mut reader = log.get_log_reader().await;
    let some = reader.limited_get_log_entries(0, 6).await.expect("read");
    assert_eq!(some.len(), 3, "2 MiB are reached with the third");
    let one = reader.limited_get_log_entries(5, 6).await.expect("read");
    assert_eq!(one.len(), 1);
    assert_eq!(
        reader.try_get_log_entries(0..6).await.expect("read").len(),
        6
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_with_a_newer_entry_refuses_to_open_and_says_why() {
    let _all_closed = AllClosed;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mut log, machine) = open(&dir).expect("a fresh store");
    log.blocking_append([entry(1, 0, b"old")])
        .await
        .expect("appended");
    drop((log, machine));
    let (store, closed) = loop {
        match Store::open::<Last>(&config(&dir)) {
            Ok(opened) => break opened,
            Err(Error::Open { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    };
    store.db().put(log_key(1), [9, 1, 2, 3]).expect("written");
    drop(store);
    closed
        .await
        .expect_err("nothing is sent, the end is the news");
    let error = open(&dir).expect_err("it must not open");
    let text = error.to_string();
    assert!(matches!(error, Error::Newer { .. }), "{text}");
    assert!(
        text.contains("log entry 1") && text.contains("version 9"),
        "{text}"
    );
    assert!(text.contains("upgrade khad"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_with_a_newer_command_or_a_hole_refuses_to_open() {
    let _all_closed = AllClosed;
    for (bad, what) in [
        (entry(1, 1, b"new"), "newer"),
        (entry(1, 5, b"old"), "damaged"),
    ] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (mut log, machine) = open(&dir).expect("a fresh store");
        log.blocking_append([entry(1, 0, b"old"), bad])
            .await
            .expect("appended");
        drop((log, machine));
        let text = reopen(&dir).expect_err("it must not open").to_string();
        assert!(text.contains(what), "{text}");
    }
}
