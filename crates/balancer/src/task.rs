//! The work of the balancer: one loop that owns every listener, check and connection. Ends when
//! it is drained.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::backend::Backend;
use crate::balancer::Shared;
use crate::check::Check;
use crate::config::{BalancerConfig, HealthConfig, Scheme};
use crate::connection::{self, Client};
use crate::error::BalancerError;
use crate::listener::listen;
use crate::tls::client_config;

/// A listener that cannot be opened, or cannot accept for want of descriptors, tries again after this.
const RETRY: Duration = Duration::from_secs(1);

/// The work of a [`Balancer`](crate::Balancer); to be run on one runtime, once.
#[derive(Debug)]
pub struct BalancerTask {
    shared: Arc<Shared>,
}

/// Everything that runs, each aborted when it goes out of scope.
struct Running {
    listeners: BTreeMap<SocketAddr, JoinSet<()>>,
    checks: JoinSet<()>,
    connections: JoinSet<()>,
    /// Addresses that nobody is served at for a while.
    parted: Vec<IpAddr>,
    /// Each waits until the clients of such addresses are gone.
    farewells: JoinSet<()>,
    /// What the checks were started with, so that they are restarted only for a change.
    checked: Option<(HealthConfig, bool, Vec<SocketAddr>)>,
}

impl BalancerTask {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Serves until it is drained.
    pub async fn run(self) {
        let mut config = self.shared.config.subscribe();
        let mut stop = self.shared.stop.subscribe();
        let mut parted = self.shared.partings.watch();
        let (accepted_tx, mut accepted) = mpsc::channel::<Client>(64);
        let mut running = Running {
            listeners: BTreeMap::new(),
            checks: JoinSet::new(),
            connections: JoinSet::new(),
            parted: Vec::new(),
            farewells: JoinSet::new(),
            checked: None,
        };
        config.mark_changed();
        // One may have begun before this.
        parted.mark_changed();
        let grace = loop {
            let stopped = *stop.borrow_and_update();
            if let Some(grace) = stopped {
                break grace;
            }
            tokio::select! {
                _ = stop.changed() => {}
                _ = parted.changed() => {
                    self.part(&mut running).await;
                    let wanted = config.borrow().clone();
                    self.listen(&wanted, &mut running, &accepted_tx);
                }
                _ = config.changed() => {
                    let wanted = config.borrow_and_update().clone();
                    self.reconcile(&wanted, &mut running, &accepted_tx);
                }
                Some(client) = accepted.recv(), if self.has_room(&running) => {
                    self.start_connection(client, &mut running.connections);
                }
                Some(_ended) = running.connections.join_next() => self.count(&running),
            }
        };
        // Each has ended when this goes on: who was accepted by then is among those who are still served.
        while let Some((_, mut owner)) = running.listeners.pop_first() {
            owner.shutdown().await;
        }
        drop(accepted_tx);
        while let Ok(client) = accepted.try_recv() {
            self.start_connection(client, &mut running.connections);
        }
        let all_ended = async { while running.connections.join_next().await.is_some() {} };
        if timeout(grace, all_ended).await.is_err() {
            self.shared.cut_all();
            // Every one of them watches its listener, so this ends at once.
            while running.connections.join_next().await.is_some() {}
        }
        self.count(&running);
    }

    /// Whether one more client can be served. Told as a problem while it cannot, and until a sixteenth is free again: at
    /// the limit connections come and go all the time.
    fn has_room(&self, running: &Running) -> bool {
        let room = self.shared.room();
        let (open, most) = (running.connections.len(), room.connections);
        if open >= most {
            let why = if room.by_descriptors {
                "as this process's limit of open files bears (`balancer.limits.connections` allows more)"
            } else {
                "as `balancer.limits.connections` allows"
            };
            let problem = format!("{most} connections are open, as many {why}: more clients wait");
            self.shared.set_problem("connections", Some(problem));
        } else if open <= most - most / 16 {
            self.shared.set_problem("connections", None);
        }
        open < most
    }

    fn count(&self, running: &Running) {
        let open = running.connections.len() as u64;
        self.shared.connections.store(open, Ordering::Relaxed);
    }

    fn start_connection(&self, client: Client, connections: &mut JoinSet<()>) {
        connections.spawn(connection::serve(self.shared.clone(), client));
        let open = connections.len() as u64;
        self.shared.connections.store(open, Ordering::Relaxed);
    }

    /// Closes what leads to the parted addresses and everybody who came by it.
    async fn part(&self, running: &mut Running) {
        let (addresses, waiting) = self.shared.partings.take();
        running.parted = addresses;
        let Running {
            listeners,
            parted,
            farewells,
            ..
        } = running;
        let leaving: Vec<SocketAddr> = listeners
            .keys()
            .filter(|listener| parted.contains(&listener.ip()))
            .copied()
            .collect();
        for listener in leaving {
            if let Some(mut owner) = listeners.remove(&listener) {
                // Closed when this returns; the kernel has then refused those whom nobody had accepted yet.
                owner.shutdown().await;
            }
        }
        let cuts: Vec<_> = parted
            .iter()
            .filter_map(|address| self.shared.cut_clients_of(*address))
            .collect();
        while farewells.try_join_next().is_some() {}
        farewells.spawn(async move {
            for cut in cuts {
                cut.closed().await;
            }
            for gone in waiting {
                gone.tell();
            }
        });
    }

    /// Opens the listeners that are wanted and closes the others.
    fn listen(
        &self,
        wanted: &BalancerConfig,
        running: &mut Running,
        accepted: &mpsc::Sender<Client>,
    ) {
        running.listeners.retain(|address, _| {
            let stays = wanted.listeners.contains(address);
            if !stays {
                self.shared
                    .set_problem(&format!("listener {address}"), None);
            }
            stays
        });
        for &address in &wanted.listeners {
            if running.parted.contains(&address.ip()) {
                continue;
            }
            running.listeners.entry(address).or_insert_with(|| {
                let mut owner = JoinSet::new();
                owner.spawn(accept(self.shared.clone(), address, accepted.clone()));
                owner
            });
        }
    }

    fn reconcile(
        &self,
        wanted: &BalancerConfig,
        running: &mut Running,
        accepted: &mpsc::Sender<Client>,
    ) {
        self.listen(wanted, running, accepted);
        self.reconcile_backends(wanted);
        let addresses = wanted.backends.iter().map(|b| b.address).collect();
        let checked = Some((wanted.health.clone(), wanted.proxy_protocol, addresses));
        if running.checked != checked {
            running.checked = checked;
            // Dropped, the former ones end.
            running.checks = JoinSet::new();
            self.start_checks(wanted, &mut running.checks);
        }
        self.shared.judge();
    }

    fn reconcile_backends(&self, wanted: &BalancerConfig) {
        let present = self.shared.backends();
        let mut backends: Vec<Arc<Backend>> = Vec::with_capacity(wanted.backends.len());
        for config in &wanted.backends {
            let stays = present.iter().find(|backend| backend.is(config));
            let backend = stays
                .cloned()
                .unwrap_or_else(|| Arc::new(Backend::new(config.clone(), &wanted.health)));
            backend.configure(config, &wanted.health);
            backends.push(backend);
        }
        for gone in self.shared.replace_backends(wanted, backends) {
            gone.cut();
        }
    }

    fn start_checks(&self, wanted: &BalancerConfig, checks: &mut JoinSet<()>) {
        let health = &wanted.health;
        let tls = match tls_of(health) {
            Ok(tls) => {
                self.shared.set_problem("health check", None);
                tls
            }
            Err(error) => {
                // Without checks all backends are unhealthy, and thus all are tried.
                let cause = std::error::Error::source(&error)
                    .map(|cause| format!(": {cause}"))
                    .unwrap_or_default();
                self.shared
                    .set_problem("health check", Some(format!("{error}{cause}")));
                return;
            }
        };
        for backend in self.shared.backends() {
            let check = Check::new(backend.clone(), wanted, tls.clone());
            checks.spawn(watch_backend(
                self.shared.clone(),
                backend,
                check,
                health.period,
            ));
        }
    }
}

fn tls_of(health: &HealthConfig) -> Result<Option<Arc<ClientConfig>>, BalancerError> {
    if !health.path.starts_with('/') || health.path.parse::<http::Uri>().is_err() {
        return Err(BalancerError::Path {
            path: health.path.clone(),
        });
    }
    match &health.scheme {
        Scheme::Http => Ok(None),
        Scheme::Https { ca_pem } => client_config(ca_pem).map(Some),
    }
}

/// Listens and hands clients over until it is aborted.
async fn accept(shared: Arc<Shared>, address: SocketAddr, accepted: mpsc::Sender<Client>) {
    let subject = format!("listener {address}");
    let listener = loop {
        match listen(address) {
            Ok(listener) => break listener,
            Err(error) => {
                let cause = std::error::Error::source(&error)
                    .map(|cause| format!(": {cause}"))
                    .unwrap_or_default();
                shared.set_problem(&subject, Some(format!("{error}{cause}")));
                sleep(RETRY).await;
            }
        }
    };
    shared.set_problem(&subject, None);
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let client = Client {
                    stream,
                    address: peer,
                    listener: address,
                    cut: shared.watch_listener(address),
                };
                if accepted.send(client).await.is_err() {
                    return;
                }
            }
            // A client that gave up while it waited is no reason to pause; a lack of descriptors is.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%address, %error, "a client cannot be accepted");
                sleep(RETRY).await;
            }
        }
    }
}

/// Checks one backend every period, and at once when the kept connection breaks or a client's connection casts
/// doubt on it (at most once per period: a server may well close after each answer, and a doubt that stays is no
/// news).
async fn watch_backend(
    shared: Arc<Shared>,
    backend: Arc<Backend>,
    mut check: Check,
    period: Duration,
) {
    let mut ticks = interval(period.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut early = false;
    loop {
        if early {
            ticks.tick().await;
            early = false;
        } else {
            tokio::select! {
                _ = ticks.tick() => {}
                () = check.closed() => early = true,
                () = backend.doubted() => early = true,
            }
        }
        let result = check.ask().await;
        let reason = result.as_ref().err().cloned();
        if backend.observe(result) {
            let healthy = backend.is_healthy();
            tracing::info!(
                host = backend.host(),
                backend = %backend.address(),
                healthy,
                reason,
                "the verdict on a backend turned"
            );
            shared.judge();
        }
    }
}
