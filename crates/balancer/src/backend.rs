//! One backend as it is now: its verdict, its counters, and the means to end its connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::config::{BackendConfig, HealthConfig};
use crate::health::Health;

/// Kept for as long as its address is configured, so that counters and connections survive a
/// change of anything else.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) config: BackendConfig,
    verdict: Mutex<Verdict>,
    /// Counts the times that all connections were ended; a connection watches it.
    cuts: watch::Sender<u64>,
    pub(crate) counters: Counters,
}

#[derive(Debug)]
struct Verdict {
    health: Health,
    reason: String,
}

/// Monotonic, except `open`.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) open: AtomicU64,
    pub(crate) total: AtomicU64,
    pub(crate) connects_failed: AtomicU64,
    pub(crate) bytes_to_backend: AtomicU64,
    pub(crate) bytes_to_client: AtomicU64,
}

/// What `status` tells of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendStatus {
    /// Name and address.
    pub backend: BackendConfig,
    /// Its checks say so.
    pub healthy: bool,
    /// Why it is not healthy, in words; empty if it is.
    pub reason: String,
    /// Connections open now.
    pub connections_open: u64,
    /// Connections ever made.
    pub connections_total: u64,
    /// Connects that were refused or timed out.
    pub connects_failed: u64,
    /// Bytes passed on to it.
    pub bytes_to_backend: u64,
    /// Bytes passed back from it.
    pub bytes_to_client: u64,
}

impl Backend {
    pub(crate) fn new(config: BackendConfig, health: &HealthConfig) -> Self {
        Self {
            config,
            verdict: Mutex::new(Verdict {
                health: Health::new(health.rise, health.fall),
                reason: "not checked yet".to_owned(),
            }),
            cuts: watch::Sender::new(0),
            counters: Counters::default(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.config.address
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.verdict().health.is_healthy()
    }

    pub(crate) fn set_thresholds(&self, health: &HealthConfig) {
        self.verdict()
            .health
            .set_thresholds(health.rise, health.fall);
    }

    /// Takes the result of a check in; true if it turned the verdict.
    pub(crate) fn observe(&self, result: Result<(), String>) -> bool {
        let mut verdict = self.verdict();
        let turned = verdict.health.observe(result.is_ok());
        verdict.reason = match result {
            Err(reason) => reason,
            Ok(()) if verdict.health.is_healthy() => String::new(),
            Ok(()) => "answers again, not often enough yet".to_owned(),
        };
        turned
    }

    /// Ends every connection that goes there.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }

    /// Resolves when the connections that exist now are to end.
    pub(crate) fn watch_cuts(&self) -> watch::Receiver<u64> {
        self.cuts.subscribe()
    }

    pub(crate) fn status(&self) -> BackendStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let verdict = self.verdict();
        BackendStatus {
            backend: self.config.clone(),
            healthy: verdict.health.is_healthy(),
            reason: if verdict.health.is_healthy() {
                String::new()
            } else {
                verdict.reason.clone()
            },
            connections_open: read(&self.counters.open),
            connections_total: read(&self.counters.total),
            connects_failed: read(&self.counters.connects_failed),
            bytes_to_backend: read(&self.counters.bytes_to_backend),
            bytes_to_client: read(&self.counters.bytes_to_client),
        }
    }

    fn verdict(&self) -> MutexGuard<'_, Verdict> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
