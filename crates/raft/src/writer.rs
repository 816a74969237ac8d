//! The one writer of the store.
//!
//! Votes, log entries and everything else are written by one thread in the order in which
//! they were handed over. What needs to be durable is written to the write-ahead log at once,
//! so that it can be read and replicated, and confirmed after the next fsync; one fsync
//! serves everything that waits when it begins. After a failed write nothing more is written:
//! a store that missed a record must not get a later one.

use std::io;
use std::sync::Arc;

use openraft::storage::IOFlushed;
use rocksdb::{WriteBatch, WriteOptions};
use tokio::sync::{mpsc, oneshot};

use crate::store::Store;
use crate::types::Types;

/// Writes that one fsync serves at the most, so that the first does not wait for ever.
const GROUP_MAX: usize = 256;
/// Writes handed over and not yet taken, at the most.
const QUEUE_MAX: usize = 1024;

/// Who hears of a completed fsync.
enum Confirm {
    /// Nobody, and no fsync is needed: the write may be lost in a crash.
    Relaxed,
    /// openraft, of log entries.
    Log(IOFlushed<Types>),
    /// The caller.
    Caller(oneshot::Sender<io::Result<()>>),
}

struct Write {
    batch: WriteBatch,
    written: Option<oneshot::Sender<io::Result<()>>>,
    confirm: Confirm,
}

/// Hands writes to the thread. The thread ends, and lets go of the store, when the last
/// clone is dropped.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Write>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(store: Arc<Store>) -> io::Result<Self> {
        let (queue, writes) = mpsc::channel(QUEUE_MAX);
        std::thread::Builder::new()
            .name("raft-writer".to_owned())
            .spawn(move || {
                Thread {
                    store,
                    failed: None,
                }
                .run(writes);
            })?;
        Ok(Self { queue })
    }

    /// Writes log entries: returns when they can be read; `flushed` hears when they are
    /// durable.
    pub(crate) async fn append(
        &self,
        batch: WriteBatch,
        flushed: IOFlushed<Types>,
    ) -> io::Result<()> {
        let (written, readable) = oneshot::channel();
        self.hand_over(Write {
            batch,
            written: Some(written),
            confirm: Confirm::Log(flushed),
        })
        .await?;
        readable.await.map_err(|_| gone())?
    }

    /// Writes and returns when it is durable.
    pub(crate) async fn durable(&self, batch: WriteBatch) -> io::Result<()> {
        let (confirm, confirmed) = oneshot::channel();
        self.hand_over(Write {
            batch,
            written: None,
            confirm: Confirm::Caller(confirm),
        })
        .await?;
        confirmed.await.map_err(|_| gone())?
    }

    /// Writes and returns when it can be read; a crash may undo it, but never keeps it and
    /// loses something written earlier.
    pub(crate) async fn relaxed(&self, batch: WriteBatch) -> io::Result<()> {
        let (written, readable) = oneshot::channel();
        self.hand_over(Write {
            batch,
            written: Some(written),
            confirm: Confirm::Relaxed,
        })
        .await?;
        readable.await.map_err(|_| gone())?
    }

    async fn hand_over(&self, write: Write) -> io::Result<()> {
        self.queue.send(write).await.map_err(|_| gone())
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the store's writer has ended")
}

struct Thread {
    store: Arc<Store>,
    /// The first failure; every later write gets it as its answer.
    failed: Option<(io::ErrorKind, String)>,
}

impl Thread {
    fn run(mut self, mut writes: mpsc::Receiver<Write>) {
        while let Some(first) = writes.blocking_recv() {
            let mut waiting = Vec::new();
            self.write(first, &mut waiting);
            for _ in 1..GROUP_MAX {
                let Ok(next) = writes.try_recv() else { break };
                self.write(next, &mut waiting);
            }
            if !waiting.is_empty() {
                self.sync(waiting);
            }
        }
    }

    /// Writes without fsync, and lets whoever waits for that go on.
    fn write(&mut self, write: Write, waiting: &mut Vec<Confirm>) {
        let outcome =
            self.attempt(|store| store.db().write_opt(write.batch, &WriteOptions::default()));
        if let Some(written) = write.written {
            // The receiver is gone if its task was cancelled; the write stands.
            let _ = written.send(outcome);
        }
        if !matches!(write.confirm, Confirm::Relaxed) {
            waiting.push(write.confirm);
        }
    }

    /// Makes everything written so far durable, then says so.
    fn sync(&mut self, waiting: Vec<Confirm>) {
        let _ = self.attempt(|store| store.db().flush_wal(true));
        for confirm in waiting {
            match confirm {
                Confirm::Relaxed => {}
                Confirm::Log(flushed) => flushed.io_completed(self.outcome()),
                Confirm::Caller(confirm) => {
                    let _ = confirm.send(self.outcome());
                }
            }
        }
    }

    fn attempt(
        &mut self,
        effect: impl FnOnce(&Store) -> Result<(), rocksdb::Error>,
    ) -> io::Result<()> {
        if self.failed.is_none()
            && let Err(error) = effect(&self.store)
        {
            let text = error.into_string();
            let kind = if text.contains("No space left on device") {
                io::ErrorKind::StorageFull
            } else {
                io::ErrorKind::Other
            };
            let path = self.store.path().display();
            tracing::error!(store = %path, error = %text, "a write failed; consensus stops");
            self.failed = Some((kind, format!("writing to {path} failed: {text}")));
        }
        self.outcome()
    }

    fn outcome(&self) -> io::Result<()> {
        match &self.failed {
            None => Ok(()),
            Some((kind, text)) => Err(io::Error::new(*kind, text.clone())),
        }
    }
}
