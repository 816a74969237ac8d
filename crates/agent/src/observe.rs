//! Looks at this host: files, leaves, processes, probes. It judges nothing.

use khactl_host::probe::{Probe, Readiness};
use khactl_host::tls::{Alpn, TlsMaterial};
use khactl_model::component::ComponentName;
use khactl_model::facts::{Facts, FileFact, LeafFact, ProbeFact};
use khactl_model::spec::ValidSpec;
use khactl_model::state::{ClusterState, Host};
use khactl_pki::LeafFacts;
use khactl_plan::{LeafPlace, Paths, Watched, watched};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::Agent;
use crate::time;
use crate::vip_loop::VipView;

/// A component that does not answer within this time is not ready.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a good probe counts: a settled control plane is asked this often.
const PROBE_PERIOD_MS: u64 = 2_000;

/// What decides whether a file has changed since it was read.
type Stamp = (u64, i64, i64, u64, u32, u32);

/// Looks at one host and remembers what has not changed.
#[derive(Debug, Default)]
pub struct Observer {
    files: HashMap<String, (Stamp, FileFact)>,
    leaves: HashMap<String, (Stamp, LeafFact)>,
    users: HashMap<u32, String>,
    probes: HashMap<ComponentName, (u64, ProbeFact)>,
    kubernetes_ca: Option<(String, Arc<rustls::ClientConfig>)>,
}

/// What one look needs to know.
#[derive(Debug)]
pub struct Looked<'a> {
    /// The spec in force.
    pub spec: &'a ValidSpec,
    /// The replicated state.
    pub state: &'a ClusterState,
    /// This host.
    pub host: &'a Host,
    /// Its folders.
    pub paths: &'a Paths,
    /// What khavip's own loop last saw.
    pub vip: VipView,
}

impl Observer {
    /// The facts as they are now.
    pub async fn look(&mut self, agent: &Agent, at: &Looked<'_>) -> Facts {
        let watched = watched(at.spec, at.state, at.host, at.paths);
        let processes = agent.processes.facts();
        let running = |name: ComponentName| processes.get(&name).is_some_and(|p| p.running);
        let probes = self.probe(at, &running).await;
        Facts {
            files: self.files(&watched),
            leaves: self.leaves(&watched.leaves),
            etcd_data: Path::new(&at.paths.etcd_data()).join("member").is_dir(),
            etcd_members: None,
            vip: at
                .vip
                .fact
                .clone()
                .filter(|_| running(ComponentName::Khavip)),
            health_ca: at.vip.health_ca.clone(),
            // Only what khavip is told depends on it.
            confirmed: false,
            processes,
            probes,
        }
    }

    fn owner(&mut self, uid: u32) -> String {
        if uid == 0 {
            return "root".to_owned();
        }
        if let Some(name) = self.users.get(&uid) {
            return name.clone();
        }
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let named = passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        });
        match named {
            Some(name) => {
                self.users.insert(uid, name.clone());
                name
            }
            None => uid.to_string(),
        }
    }

    fn files(&mut self, watched: &Watched) -> BTreeMap<String, FileFact> {
        let mut facts = BTreeMap::new();
        for path in watched.folders.iter().chain(&watched.files) {
            let Ok(metadata) = std::fs::symlink_metadata(path) else {
                self.files.remove(path);
                continue;
            };
            let stamp = stamp(&metadata);
            if let Some((known, fact)) = self.files.get(path)
                && *known == stamp
            {
                facts.insert(path.clone(), fact.clone());
                continue;
            }
            let sha256 = if metadata.is_dir() {
                String::new()
            } else {
                match std::fs::read(path) {
                    Ok(bytes) => khactl_plan::sha256_hex(&bytes),
                    Err(_) => continue,
                }
            };
            let fact = FileFact {
                sha256,
                mode: metadata.mode() & 0o7777,
                owner: self.owner(metadata.uid()),
            };
            self.files.insert(path.clone(), (stamp, fact.clone()));
            facts.insert(path.clone(), fact);
        }
        facts
    }

    fn leaves(&mut self, places: &[LeafPlace]) -> BTreeMap<String, LeafFact> {
        let mut facts = BTreeMap::new();
        for place in places {
            let Ok(metadata) = std::fs::metadata(&place.cert) else {
                continue;
            };
            if !Path::new(&place.key).exists() {
                continue;
            }
            let stamp = stamp(&metadata);
            if let Some((known, fact)) = self.leaves.get(&place.cert)
                && *known == stamp
            {
                facts.insert(place.leaf.to_owned(), fact.clone());
                continue;
            }
            let read = std::fs::read_to_string(&place.cert)
                .ok()
                .and_then(|pem| LeafFacts::from_pem(&pem).ok());
            if let Some(read) = read {
                let fact = LeafFact {
                    not_before_s: read.not_before_s,
                    not_after_s: read.not_after_s,
                    sans: read.sans.iter().map(ToString::to_string).collect(),
                    authority: String::new(),
                };
                self.leaves
                    .insert(place.cert.clone(), (stamp, fact.clone()));
                facts.insert(place.leaf.to_owned(), fact);
            }
        }
        facts
    }

    async fn probe(
        &mut self,
        at: &Looked<'_>,
        running: &impl Fn(ComponentName) -> bool,
    ) -> BTreeMap<ComponentName, ProbeFact> {
        let now_ms = time::boot_ms();
        let mut due = Vec::new();
        for name in [
            ComponentName::Etcd,
            ComponentName::KubeApiserver,
            ComponentName::KubeControllerManager,
            ComponentName::KubeScheduler,
        ] {
            if !running(name) {
                self.probes.remove(&name);
                continue;
            }
            let fresh = self
                .probes
                .get(&name)
                .is_some_and(|(at_ms, fact)| fact.ready && now_ms < at_ms + PROBE_PERIOD_MS);
            if !fresh && let Some(probe) = self.probe_of(name, at) {
                due.push(async move { (name, probe.run(PROBE_TIMEOUT).await) });
            }
        }
        for (name, readiness) in futures::future::join_all(due).await {
            let fact = match readiness {
                Readiness::Ready => ProbeFact {
                    ready: true,
                    detail: String::new(),
                },
                Readiness::NotReady { reason } => ProbeFact {
                    ready: false,
                    detail: reason,
                },
            };
            self.probes.insert(name, (now_ms, fact));
        }
        self.probes
            .iter()
            .map(|(name, (_, fact))| (*name, fact.clone()))
            .collect()
    }

    fn probe_of(&mut self, name: ComponentName, at: &Looked<'_>) -> Option<Probe> {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        match name {
            ComponentName::Etcd => Some(Probe::http(loopback(2381), "/health")),
            ComponentName::KubeApiserver => {
                let address =
                    SocketAddr::new(at.host.address, at.spec.control_plane.api_server.port);
                Some(Probe::https(address, "/readyz", self.kubernetes(at.state)?))
            }
            ComponentName::KubeControllerManager => {
                Probe::https_loopback(loopback(10257), "/healthz").ok()
            }
            ComponentName::KubeScheduler => Probe::https_loopback(loopback(10259), "/healthz").ok(),
            ComponentName::Khavip => None,
        }
    }

    /// Clients trust the Kubernetes authority; the configuration is kept, it is dear to make.
    fn kubernetes(&mut self, state: &ClusterState) -> Option<Arc<rustls::ClientConfig>> {
        let pem = &state.authorities.get("kubernetes")?.certificate_pem;
        if let Some((known, config)) = &self.kubernetes_ca
            && known == pem
        {
            return Some(Arc::clone(config));
        }
        let material = TlsMaterial {
            ca_pem: pem.clone().into_bytes(),
            identity: None,
        };
        let config = material
            .client_config("probing the apiserver", Alpn::HTTP_1)
            .ok()?;
        self.kubernetes_ca = Some((pem.clone(), Arc::clone(&config)));
        Some(config)
    }
}

fn stamp(metadata: &std::fs::Metadata) -> Stamp {
    (
        metadata.ino(),
        metadata.ctime(),
        metadata.ctime_nsec(),
        metadata.size(),
        metadata.mode(),
        metadata.uid(),
    )
}
