//! Asks this host's components their probes, each in a task of its own: one that hangs holds up no other, nor the
//! host's loop. What the answers come to is decided by [`Probing`]; this file only asks, at the times it names.

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use khactl_host::probe::{Probe, Readiness, RepeatedProbe};
use khactl_host::tls::{Alpn, TlsMaterial};
use khactl_model::component::ComponentName;
use khactl_model::facts::{ProbeFact, ProcessFact};
use khactl_model::spec::{HealthScheme, ProbeAction, Probes, ValidSpec};
use khactl_model::state::{ClusterState, Host};
use khactl_plan::{ProbeKind, Probing};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

use crate::tasks::Tasks;
use crate::time;

/// Where the components other than the apiserver answer: plain for etcd, over TLS with a certificate of their own
/// making for the others. The same ports are rendered into their arguments.
const PORTS: [(ComponentName, u16); 3] = [
    (ComponentName::Etcd, 2381),
    (ComponentName::KubeControllerManager, 10257),
    (ComponentName::KubeScheduler, 10259),
];

/// The probes of one host.
#[derive(Debug)]
pub struct Prober {
    slots: BTreeMap<ComponentName, Slot>,
    changed: Arc<Notify>,
}

#[derive(Debug)]
struct Slot {
    target: watch::Sender<Option<Target>>,
    found: Arc<Mutex<Option<Found>>>,
}

/// What is known of the process that has this id.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    pid: u32,
    fact: ProbeFact,
}

/// Whom to ask, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    component: ComponentName,
    pid: u32,
    started_at_ms: u64,
    /// Its own port.
    address: SocketAddr,
    probes: Probes,
    /// Who signed the apiserver's certificate.
    ca_pem: String,
}

impl Prober {
    /// Starts its tasks; they ask nothing until [`Self::aim`].
    pub fn spawn(tasks: &Tasks) -> Self {
        let changed = Arc::new(Notify::new());
        let names = [
            (ComponentName::Etcd, "probe etcd"),
            (ComponentName::KubeApiserver, "probe kube-apiserver"),
            (
                ComponentName::KubeControllerManager,
                "probe kube-controller-manager",
            ),
            (ComponentName::KubeScheduler, "probe kube-scheduler"),
        ];
        let slots = names
            .into_iter()
            .map(|(component, task)| {
                let (target, aimed) = watch::channel(None);
                let found = Arc::default();
                let ask = ask(aimed, Arc::clone(&found), Arc::clone(&changed));
                let stopping = tasks.stopping();
                tasks.spawn(task, async move {
                    tokio::select! {
                        () = ask => {}
                        () = stopping => {}
                    }
                });
                (component, Slot { target, found })
            })
            .collect();
        Self { slots, changed }
    }

    /// From now on asks the processes that run.
    pub fn aim(
        &self,
        spec: &ValidSpec,
        state: &ClusterState,
        host: &Host,
        processes: &BTreeMap<ComponentName, ProcessFact>,
    ) {
        for (&component, slot) in &self.slots {
            let target = processes
                .get(&component)
                .filter(|process| process.running)
                .map(|process| Target {
                    component,
                    pid: process.pid,
                    started_at_ms: process.started_at_ms,
                    address: address(component, spec, host),
                    probes: spec.control_plane.probes(component),
                    ca_pem: authority(component, state),
                });
            slot.target.send_if_modified(|before| {
                let differs = *before != target;
                *before = target;
                differs
            });
        }
    }

    /// Asks nobody any more.
    pub fn rest(&self) {
        for slot in self.slots.values() {
            slot.target.send_replace(None);
        }
    }

    /// What is known of the processes that run.
    pub fn facts(
        &self,
        processes: &BTreeMap<ComponentName, ProcessFact>,
    ) -> BTreeMap<ComponentName, ProbeFact> {
        self.slots
            .iter()
            .filter_map(|(name, slot)| {
                let process = processes.get(name).filter(|process| process.running)?;
                let found = slot.found.lock().unwrap_or_else(PoisonError::into_inner);
                let found = found.as_ref().filter(|found| found.pid == process.pid)?;
                Some((*name, found.fact.clone()))
            })
            .collect()
    }

    /// Ends when something has become known since the last time.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

fn address(component: ComponentName, spec: &ValidSpec, host: &Host) -> SocketAddr {
    let own = PORTS.iter().find(|(name, _)| *name == component);
    match own {
        Some((_, port)) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), *port),
        None => SocketAddr::new(host.address, spec.control_plane.api_server.port),
    }
}

fn authority(component: ComponentName, state: &ClusterState) -> String {
    let known = state.authorities.get("kubernetes");
    match known.filter(|_| component == ComponentName::KubeApiserver) {
        Some(authority) => authority.certificate_pem.clone(),
        None => String::new(),
    }
}

/// One kind of question to one process, or why it cannot be asked. A process has questions of its own, so that none is
/// judged by a connection to its predecessor.
type Question = Result<RepeatedProbe, String>;

/// What was answered, and what it was asked with.
type Answer = (ProbeKind, Readiness, Question);

/// Asks one component for as long as it has a process.
async fn ask(
    mut aimed: watch::Receiver<Option<Target>>,
    found: Arc<Mutex<Option<Found>>>,
    changed: Arc<Notify>,
) {
    loop {
        let target = aimed.borrow_and_update().clone();
        let Some(target) = target else {
            *found.lock().unwrap_or_else(PoisonError::into_inner) = None;
            if aimed.changed().await.is_err() {
                return;
            }
            continue;
        };
        let served = {
            let found = found.lock().unwrap_or_else(PoisonError::into_inner);
            let same = found.as_ref().filter(|found| found.pid == target.pid);
            same.is_some_and(|found| found.fact.ready || found.fact.failing)
        };
        let course = course(&target, served, |fact| {
            let news = Some(Found {
                pid: target.pid,
                fact,
            });
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            if *found != news {
                *found = news;
                changed.notify_one();
            }
        });
        tokio::select! {
            // Another process, or other settings: what was on its way is of no interest any more.
            ended = aimed.changed() => if ended.is_err() { return },
            () = course => {}
        }
    }
}

/// Asks one process for ever, and tells what is known after every answer. `served`: it was seen to serve, when it was asked
/// with other settings.
async fn course(target: &Target, served: bool, tell: impl Fn(ProbeFact)) {
    let mut probing = Probing::new(target.probes.clone(), target.started_at_ms, time::boot_ms());
    if served {
        probing.has_served();
    }
    // Those that are not on their way.
    let mut questions: BTreeMap<ProbeKind, Question> = BTreeMap::new();
    let mut answers: FuturesUnordered<BoxFuture<'static, Answer>> = FuturesUnordered::new();
    tell(probing.fact());
    loop {
        let now_ms = time::boot_ms();
        let next = probing.next();
        if let Some((kind, due_ms)) = next
            && due_ms <= now_ms
            && let Some(spec) = probing.spec(kind)
        {
            let mut asked = questions
                .remove(&kind)
                .unwrap_or_else(|| question(target, &spec.action).map(RepeatedProbe::new));
            let timeout = Duration::from_millis(u64::from(spec.timeout_ms));
            answers.push(Box::pin(async move {
                let answer = match &mut asked {
                    Ok(probe) => probe.run(timeout).await,
                    Err(reason) => Readiness::NotReady {
                        reason: reason.clone(),
                    },
                };
                (kind, answer, asked)
            }));
            probing.asked(kind, now_ms);
            continue;
        }
        let rest = next.map_or(Duration::from_mins(1), |(_, due_ms)| {
            Duration::from_millis(due_ms.saturating_sub(now_ms))
        });
        tokio::select! {
            Some((kind, answer, asked)) = answers.next() => {
                questions.insert(kind, asked);
                let answer = match answer {
                    Readiness::Ready => Ok(()),
                    Readiness::NotReady { reason } => Err(reason),
                };
                probing.answered(kind, time::boot_ms(), answer);
                tell(probing.fact());
            }
            () = time::pause(rest) => {}
        }
    }
}

/// What is asked of whom, as the host asks it.
fn question(target: &Target, action: &ProbeAction) -> Result<Probe, String> {
    let at = |port: Option<u16>| {
        SocketAddr::new(
            target.address.ip(),
            port.unwrap_or_else(|| target.address.port()),
        )
    };
    let unusable = |error: khactl_host::HostError| crate::refused::chain(&error);
    match action {
        ProbeAction::TcpSocket(socket) => Ok(Probe::tcp(at(socket.port))),
        ProbeAction::Exec(exec) => Ok(Probe::exec(
            exec.command.clone(),
            target.component.user().map(str::to_owned),
        )),
        ProbeAction::HttpGet(get) => match get.scheme {
            HealthScheme::Http => Ok(Probe::http(at(get.port), &get.path)),
            HealthScheme::Https if get.port.is_none() && !target.ca_pem.is_empty() => {
                let material = TlsMaterial {
                    ca_pem: target.ca_pem.clone().into_bytes(),
                    identity: None,
                };
                let tls = material
                    .client_config("probing the apiserver", Alpn::HTTP_1)
                    .map_err(unusable)?;
                Ok(Probe::https(at(None), &get.path, tls))
            }
            // Whether somebody answers is all that is asked; the certificate is of the component's own making.
            HealthScheme::Https => Probe::https_unjudged(at(get.port), &get.path).map_err(unusable),
        },
    }
}
