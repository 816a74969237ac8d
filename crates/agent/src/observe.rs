//! Looks at this host: files, leaves, processes, what their probes came to. It judges nothing.

use khactl_host::logs;
use khactl_model::component::ComponentName;
use khactl_model::facts::{Facts, FileFact, LeafFact, ProcessFact};
use khactl_model::spec::ValidSpec;
use khactl_model::state::{ClusterState, Host};
use khactl_pki::LeafFacts;
use khactl_plan::{LeafPlace, Paths, Watched, watched};
use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::agent::Agent;
use crate::prober::Prober;
use crate::vip_loop::VipView;

/// So many lines of a log are told when its component ended.
const LAST_LINES: usize = 20;
/// Every host's report holds them, and the status of all.
const LAST_LINE_CHARS_MAX: usize = 400;

/// What decides whether a file has changed since it was read.
type Stamp = (u64, i64, i64, u64, u32, u32);

/// Looks at one host and remembers what has not changed.
#[derive(Debug, Default)]
pub struct Observer {
    files: HashMap<String, (Stamp, FileFact)>,
    leaves: HashMap<String, (Stamp, LeafFact)>,
    users: HashMap<u32, String>,
    /// With the time of the end that they belong to.
    last_lines: HashMap<ComponentName, (u64, Vec<String>)>,
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
    /// The facts as they are now; `prober` is told whom to ask from now on.
    pub async fn look(&mut self, agent: &Agent, prober: &Prober, at: &Looked<'_>) -> Facts {
        let watched = watched(at.spec, at.state, at.host, at.paths);
        let processes = agent.processes.facts();
        let running = |name: ComponentName| processes.get(&name).is_some_and(|p| p.running);
        prober.aim(at.spec, at.state, at.host, &processes);
        let answers = prober.facts(&processes);
        let last_lines = self.last_lines(agent, &processes).await;
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
            last_lines,
            probes: answers,
        }
    }

    /// The last words of whatever ended soon after its start, read once for each end: later lines are of the next
    /// run.
    async fn last_lines(
        &mut self,
        agent: &Agent,
        processes: &BTreeMap<ComponentName, ProcessFact>,
    ) -> BTreeMap<ComponentName, Vec<String>> {
        let mut facts = BTreeMap::new();
        for (&name, process) in processes {
            let ended = process
                .last_exit
                .as_ref()
                .filter(|_| process.quick_exits > 0);
            let Some(exit) = ended else {
                self.last_lines.remove(&name);
                continue;
            };
            let known = self.last_lines.get(&name);
            let lines = match known {
                Some((at_ms, lines)) if *at_ms == exit.at_ms => lines.clone(),
                _ => {
                    let dir = &agent.config.log_dir;
                    let read = logs::tail(dir, name.as_str(), LAST_LINES, None).await;
                    // A log that cannot be read says nothing; what else is known of the end is told all the same.
                    let lines: Vec<String> = read
                        .unwrap_or_default()
                        .iter()
                        .map(|line| line.chars().take(LAST_LINE_CHARS_MAX).collect())
                        .collect();
                    self.last_lines.insert(name, (exit.at_ms, lines.clone()));
                    lines
                }
            };
            facts.insert(name, lines);
        }
        facts
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
