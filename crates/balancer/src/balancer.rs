//! The handle of the balancer: what others tell it and ask it, from any thread. It does no work
//! itself; that is [`BalancerTask`]'s.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::backend::{Backend, BackendStatus, Choice};
use crate::config::{BalancerConfig, Limits, Method};
use crate::connection::Client;
use crate::parting::{Gone, Parting, Partings};
use crate::past::Past;
use crate::pick::{Candidate, Picker};
use crate::proxy;
use crate::room::{Room, bearable, room};
use crate::silence::{Silence, SilentClients};
use crate::task::BalancerTask;

/// The handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Balancer {
    shared: Arc<Shared>,
}

/// What the balancer does at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalancerStatus {
    /// In the configuration's order.
    pub backends: Vec<BackendStatus>,
    /// Connections open now, with those still looking for a backend.
    pub connections: u64,
    /// Connections that there may be: as configured, or fewer where this process may not have descriptors for so many.
    pub connections_max: u64,
    /// Of those open, the ones whose client has said nothing yet.
    pub half_open: u64,
    /// Connections that were reset because their clients said nothing.
    pub half_open_ended: u64,
    /// What hinders it, in words for the operator.
    pub problems: Vec<String>,
}

/// What handle, task and connections share. Locks are held for a look or a change, never across
/// a wait.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: watch::Sender<BalancerConfig>,
    pub(crate) stop: watch::Sender<Option<Duration>>,
    pub(crate) connections: AtomicU64,
    /// As many as this process has descriptors for.
    bearable: usize,
    silent: Arc<SilentClients>,
    /// True while any backend is healthy.
    any_healthy: watch::Sender<bool>,
    current: Mutex<Current>,
    problems: Mutex<BTreeMap<String, String>>,
    pub(crate) partings: Partings,
    /// Per listening address, the count of times that its connections were ended.
    listener_cuts: Mutex<BTreeMap<IpAddr, watch::Sender<u64>>>,
}

#[derive(Debug, Default)]
struct Current {
    method: Method,
    backends_speak_tls: bool,
    proxy_protocol: bool,
    limits: Limits,
    room: Option<Room>,
    backends: Vec<Arc<Backend>>,
    picker: Picker,
}

impl Balancer {
    /// A balancer that listens nowhere until something is applied; the task must be run. `descriptors` are as many as this
    /// process may have open: it takes no more clients than those bear, whatever is applied.
    pub fn new(descriptors: u64) -> (Self, BalancerTask) {
        let shared = Arc::new(Shared {
            config: watch::Sender::new(BalancerConfig::default()),
            stop: watch::Sender::new(None),
            connections: AtomicU64::new(0),
            bearable: bearable(descriptors),
            silent: Arc::default(),
            any_healthy: watch::Sender::new(false),
            current: Mutex::default(),
            problems: Mutex::default(),
            partings: Partings::default(),
            listener_cuts: Mutex::default(),
        });
        let task = BalancerTask::new(shared.clone());
        (Self { shared }, task)
    }

    /// Replaces the desired state. What stays the same is not disturbed: connections of backends
    /// that remain go on, also when their listener goes.
    pub fn apply(&self, config: BalancerConfig) {
        self.shared.config.send_if_modified(|present| {
            let changed = *present != config;
            *present = config;
            changed
        });
    }

    /// True while at least one backend is healthy.
    pub fn any_healthy(&self) -> watch::Receiver<bool> {
        self.shared.any_healthy.subscribe()
    }

    /// Resets the connections that clients made to this local address: for when it has left the host, and nothing can
    /// be sent on them any more.
    pub fn reset_clients_of(&self, local: IpAddr) {
        self.shared.cut_clients_of(local);
    }

    /// For when addresses are about to leave the host: serves nobody at them while what is given back lives. Their
    /// listeners close, so that a client that comes is refused, and the clients they have are reset. `gone` is called by
    /// a thread of the balancer when the last of these is closed, and dropped uncalled if the balancer ends before.
    pub fn part(&self, addresses: Vec<IpAddr>, gone: impl FnOnce() + Send + 'static) -> Parting {
        Parting::begin(self.shared.clone(), addresses, Gone::new(gone))
    }

    /// Stops listening, lets open connections end for as long as `grace`, then resets the rest.
    /// The task ends after that.
    pub fn drain(&self, grace: Duration) {
        self.shared.stop.send_replace(Some(grace));
    }

    /// What it does at present.
    pub fn status(&self) -> BalancerStatus {
        BalancerStatus {
            backends: self
                .shared
                .backends()
                .iter()
                .map(|backend| backend.status())
                .collect(),
            connections: self.shared.connections.load(Ordering::Relaxed),
            connections_max: self.shared.room().connections as u64,
            half_open: self.shared.silent.count() as u64,
            half_open_ended: self.shared.silent.ended(),
            problems: self.shared.problems().values().cloned().collect(),
        }
    }
}

impl Shared {
    pub(crate) fn backends(&self) -> Vec<Arc<Backend>> {
        self.current().backends.clone()
    }

    /// Takes new backends over and gives those back that are gone.
    pub(crate) fn replace_backends(
        &self,
        config: &BalancerConfig,
        backends: Vec<Arc<Backend>>,
    ) -> Vec<Arc<Backend>> {
        let mut current = self.current();
        current.method = config.method;
        current.backends_speak_tls = config.health.scheme.is_tls();
        current.proxy_protocol = config.proxy_protocol;
        current.limits = config.limits.clone();
        let room = room(current.limits.connections, self.bearable);
        if room.by_descriptors && current.room != Some(room) {
            tracing::warn!(
                wanted = current.limits.connections,
                served = room.connections,
                "the limit of open files bears fewer connections than `balancer.limits.connections` allows"
            );
        }
        current.room = Some(room);
        let addresses: Vec<SocketAddr> = backends.iter().map(|new| new.address()).collect();
        current.picker.retain(&addresses);
        let before = std::mem::replace(&mut current.backends, backends);
        before
            .into_iter()
            .filter(|old| !current.backends.iter().any(|new| Arc::ptr_eq(old, new)))
            .collect()
    }

    /// The backends that a client is to be connected to, in the order in which to try them: without those that failed it, and
    /// last those that it has passed by.
    pub(crate) fn order(&self, client: &Client, past: &Past) -> Vec<Choice> {
        let by_loopback = client.listener.ip().is_loopback();
        let mut current = self.current();
        let Current {
            method,
            backends,
            picker,
            ..
        } = &mut *current;
        let choices: Vec<Choice> = backends.iter().map(Choice::of).collect();
        let candidates: Vec<Candidate> = choices
            .iter()
            .map(|choice| choice.backend.candidate(by_loopback))
            .collect();
        let mut order: Vec<Choice> = picker
            .order(*method, &candidates, client.address.ip())
            .into_iter()
            .map(|index| &choices[index])
            .filter(|choice| !past.has_failed(&choice.backend))
            .cloned()
            .collect();
        order.sort_by_key(|choice| past.has_passed_by(&choice.backend));
        order
    }

    /// Whether a client with this past, that waits for this backend, may hope for another one.
    pub(crate) fn another_is_well(&self, backend: &Arc<Backend>, past: &Past) -> bool {
        self.current().backends.iter().any(|other| {
            !Arc::ptr_eq(other, backend)
                && !past.has_failed(other)
                && !past.has_passed_by(other)
                && other.is_well()
        })
    }

    /// Connections at one time.
    pub(crate) fn room(&self) -> Room {
        let current = self.current();
        current
            .room
            .unwrap_or_else(|| room(current.limits.connections, self.bearable))
    }

    /// A client's silence begins.
    pub(crate) fn await_first_word(&self) -> Silence {
        let Limits {
            half_open,
            half_open_time,
            ..
        } = self.current().limits;
        self.silent.enter(half_open, half_open_time)
    }

    /// Tells a backend who the client is, if it is to know; false if it did not take that.
    pub(crate) fn tell_of(&self, client: &Client, backend: &TcpStream) -> bool {
        if !self.current().proxy_protocol {
            return true;
        }
        let Ok(called) = client.stream.local_addr() else {
            return false;
        };
        let header = proxy::header_of(client.address, called);
        // Nothing lies in the socket's buffer yet: it takes some dozens of bytes whole.
        matches!(backend.try_write(&header), Ok(written) if written == header.len())
    }

    /// Whether what is no TLS is refused by every backend.
    pub(crate) fn backends_speak_tls(&self) -> bool {
        self.current().backends_speak_tls
    }

    /// To be called whenever a verdict turned or the backends changed.
    ///
    /// The connections of unhealthy backends end as soon as there is a healthy one to go to; while
    /// there is none they have nowhere better to go, and a check that is wrong everywhere (an
    /// overload, a bad path) cuts nobody off.
    pub(crate) fn judge(&self) {
        // One at a time, and each by what it finds when it is its turn: of two threads that judge, the later one
        // has the last word, and it has seen both verdicts.
        self.any_healthy.send_if_modified(|present| {
            let backends = self.backends();
            let any_healthy = backends.iter().any(|backend| backend.is_healthy());
            if any_healthy {
                for backend in backends.iter().filter(|backend| !backend.is_healthy()) {
                    backend.cut();
                }
            }
            let changed = *present != any_healthy;
            *present = any_healthy;
            changed
        });
    }

    pub(crate) fn watch_listener(&self, listener: SocketAddr) -> watch::Receiver<u64> {
        self.listener_cuts()
            .entry(listener.ip())
            .or_insert_with(|| watch::Sender::new(0))
            .subscribe()
    }

    /// Resets the connections that clients made to this local address. What is given back is watched until the last
    /// of them is closed; nothing: nobody ever came by it.
    pub(crate) fn cut_clients_of(&self, local: IpAddr) -> Option<watch::Sender<u64>> {
        let cuts = self.listener_cuts().get(&local).cloned()?;
        cuts.send_modify(|count| *count += 1);
        Some(cuts)
    }

    /// Resets every connection there is.
    pub(crate) fn cut_all(&self) {
        for cuts in self.listener_cuts().values() {
            cuts.send_modify(|count| *count += 1);
        }
    }

    /// Notes what hinders `subject`, or that nothing does any more; logs a change.
    pub(crate) fn set_problem(&self, subject: &str, problem: Option<String>) {
        let mut problems = self.problems();
        if problems.get(subject) == problem.as_ref() {
            return;
        }
        if let Some(problem) = problem {
            tracing::warn!(subject, problem, "the balancer is hindered");
            problems.insert(subject.to_owned(), problem);
        } else {
            tracing::info!(subject, "the balancer is hindered no more");
            problems.remove(subject);
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn problems(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listener_cuts(&self) -> MutexGuard<'_, BTreeMap<IpAddr, watch::Sender<u64>>> {
        self.listener_cuts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
