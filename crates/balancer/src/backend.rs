//! One backend as it is now: its verdict, what speaks against it, its counters, and the means to end its
//! connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::config::{BackendConfig, HealthConfig};
use crate::health::Health;
use crate::pick::Candidate;
use crate::scout::may_go;
use crate::suspicion::{Evidence, Suspicion};
use crate::usual::Usual;

/// Kept for as long as host and address are configured, so that counters and connections survive
/// a change of anything else.
#[derive(Debug)]
pub(crate) struct Backend {
    host: String,
    address: SocketAddr,
    standing: Mutex<Standing>,
    /// Counts the times that all connections were ended; a connection watches it.
    cuts: watch::Sender<u64>,
    /// Rung when a check should not wait for its time.
    doubt: Notify,
    /// How long a connect takes.
    pub(crate) connects: Usual,
    /// How long it takes from a client's first words to the first byte of an answer.
    pub(crate) answers: Usual,
    /// When a client last left it as a scout, in microseconds of CLOCK_MONOTONIC.
    scouted_us: AtomicU64,
    pub(crate) counters: Counters,
}

#[derive(Debug)]
struct Standing {
    config: BackendConfig,
    health: Health,
    suspicion: Suspicion,
    reason: String,
}

/// Monotonic, except `open`.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) open: AtomicU64,
    pub(crate) total: AtomicU64,
    pub(crate) connects_failed: AtomicU64,
    pub(crate) unanswered: AtomicU64,
    pub(crate) bytes_to_backend: AtomicU64,
    pub(crate) bytes_to_client: AtomicU64,
}

/// What `status` tells of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendStatus {
    /// Name, address and what else was configured.
    pub backend: BackendConfig,
    /// Its checks say so.
    pub healthy: bool,
    /// Something has spoken against it since its last good check: it is tried last.
    pub suspect: bool,
    /// Why it is not healthy, in words; empty if it is.
    pub reason: String,
    /// Connections open now, with those being made.
    pub connections_open: u64,
    /// Connections ever made.
    pub connections_total: u64,
    /// Connects that were refused, timed out, or were overtaken by another backend's.
    pub connects_failed: u64,
    /// Connections that it ended, or that went on to another backend, before it had answered anything.
    pub connections_unanswered: u64,
    /// Bytes passed on to it.
    pub bytes_to_backend: u64,
    /// Bytes passed back from it.
    pub bytes_to_client: u64,
}

impl Backend {
    pub(crate) fn new(config: BackendConfig, health: &HealthConfig) -> Self {
        Self {
            host: config.host.clone(),
            address: config.address,
            standing: Mutex::new(Standing {
                config,
                health: Health::new(health.rise, health.fall),
                suspicion: Suspicion::default(),
                reason: "not checked yet".to_owned(),
            }),
            cuts: watch::Sender::new(0),
            doubt: Notify::new(),
            connects: Usual::default(),
            answers: Usual::default(),
            scouted_us: AtomicU64::new(0),
            counters: Counters::default(),
        }
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it can become this without being another one.
    pub(crate) fn is(&self, config: &BackendConfig) -> bool {
        self.address == config.address && self.host == config.host
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.standing().health.is_healthy()
    }

    pub(crate) fn configure(&self, config: &BackendConfig, health: &HealthConfig) {
        let mut standing = self.standing();
        standing.config = config.clone();
        standing.health.set_thresholds(health.rise, health.fall);
    }

    /// As it is now, for a client that came by loopback or not.
    pub(crate) fn candidate(&self, by_loopback: bool) -> Candidate {
        let standing = self.standing();
        Candidate {
            address: self.address,
            weight: standing.config.weight,
            healthy: standing.health.is_healthy(),
            suspect: standing.suspicion.stands(),
            draining: standing.config.draining,
            preferred: by_loopback && standing.config.local,
            open: self.counters.open.load(Ordering::Relaxed),
        }
    }

    /// Takes the result of a check in; true if it turned the verdict.
    pub(crate) fn observe(&self, result: Result<(), String>) -> bool {
        let mut standing = self.standing();
        let turned = standing.health.observe(result.is_ok());
        standing.suspicion.observe(if result.is_ok() {
            Evidence::CheckPassed
        } else {
            Evidence::CheckFailed
        });
        standing.reason = match result {
            Err(reason) => reason,
            Ok(()) if standing.health.is_healthy() => String::new(),
            Ok(()) => "answers again, not often enough yet".to_owned(),
        };
        turned
    }

    /// A connection got its first byte.
    pub(crate) fn answered(&self) {
        self.standing().suspicion.observe(Evidence::Answered);
    }

    /// A connection to it came to nothing: it is tried last from now on, and checked at once.
    pub(crate) fn suspect(&self, why: &str) {
        if self.standing().suspicion.observe(Evidence::ConnectFailed) {
            tracing::info!(
                host = self.host,
                backend = %self.address,
                why,
                "a backend is tried last until it answers"
            );
        }
        self.doubt.notify_one();
    }

    /// Resolves when a check was asked for since the last time.
    pub(crate) async fn doubted(&self) {
        self.doubt.notified().await;
    }

    /// Healthy, and nothing speaks against it: worth going to.
    pub(crate) fn is_well(&self) -> bool {
        let standing = self.standing();
        standing.health.is_healthy() && !standing.suspicion.stands() && !standing.config.draining
    }

    /// Something speaks against it at present.
    pub(crate) fn is_suspect(&self) -> bool {
        self.standing().suspicion.stands()
    }

    /// Grows whenever it has said something to any client.
    pub(crate) fn heard(&self) -> u64 {
        self.counters.bytes_to_client.load(Ordering::Relaxed)
    }

    /// Whether one of its clients may leave it as a scout now. Says so to one of those who ask at the same time.
    pub(crate) fn takes_scout(&self, now: Duration) -> bool {
        let last_us = self.scouted_us.load(Ordering::Relaxed);
        let now_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        may_go(Duration::from_micros(last_us), now)
            && self
                .scouted_us
                .compare_exchange(last_us, now_us, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Ends every connection that goes there.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }

    pub(crate) fn status(&self) -> BackendStatus {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let standing = self.standing();
        BackendStatus {
            backend: standing.config.clone(),
            healthy: standing.health.is_healthy(),
            suspect: standing.suspicion.stands(),
            reason: if standing.health.is_healthy() {
                String::new()
            } else {
                standing.reason.clone()
            },
            connections_open: read(&self.counters.open),
            connections_total: read(&self.counters.total),
            connects_failed: read(&self.counters.connects_failed),
            connections_unanswered: read(&self.counters.unanswered),
            bytes_to_backend: read(&self.counters.bytes_to_backend),
            bytes_to_client: read(&self.counters.bytes_to_client),
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A backend that may be chosen for a connection.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    pub(crate) backend: Arc<Backend>,
    /// Changes when the connections that it gets by this choice are to end.
    pub(crate) cut: watch::Receiver<u64>,
}

impl Choice {
    /// To be made before anything else of the backend is looked at: whatever turns after the look is then told here,
    /// also while another thread judges.
    pub(crate) fn of(backend: &Arc<Backend>) -> Self {
        Self {
            backend: backend.clone(),
            cut: backend.cuts.subscribe(),
        }
    }
}

/// Counts a connection as open for as long as it lives, however it ends.
#[derive(Debug)]
pub(crate) struct Open(Arc<Backend>);

impl Open {
    pub(crate) fn count(backend: &Arc<Backend>) -> Self {
        backend.counters.open.fetch_add(1, Ordering::Relaxed);
        Self(backend.clone())
    }

    pub(crate) fn backend(&self) -> &Arc<Backend> {
        &self.0
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.counters.open.fetch_sub(1, Ordering::Relaxed);
    }
}
