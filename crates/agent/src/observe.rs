//! Looks at this host: files, leaves, processes, what their probes came to. It judges nothing.

use khactl_host::logs;
use khactl_host::ports::{self, Protocol};
use khactl_model::component::ComponentName;
use khactl_model::facts::{Facts, FileFact, LeafFact, ProcessFact};
use khactl_model::spec::ValidSpec;
use khactl_model::state::{ClusterState, Host};
use khactl_pki::LeafFacts;
use khactl_plan::{LeafPlace, Paths, Watched, taken_address, watched};
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
    words: HashMap<ComponentName, LastWords>,
}

/// What was found when a component had ended.
#[derive(Debug)]
struct LastWords {
    /// The time of that end.
    at_ms: u64,
    lines: Vec<String>,
    /// Who had its port.
    stranger: Option<String>,
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
        self.last_words(agent, &processes).await;
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
            // Only what khavip is told depends on these.
            confirmed: false,
            unready: BTreeSet::new(),
            processes,
            last_lines: self
                .words
                .iter()
                .map(|(name, words)| (*name, words.lines.clone()))
                .collect(),
            strangers: self
                .words
                .iter()
                .filter_map(|(name, words)| Some((*name, words.stranger.clone()?)))
                .collect(),
            probes: answers,
        }
    }

    /// The last words of whatever ended soon after its start, read once for each end: later lines are of the next
    /// run, and who was in its way may be gone.
    async fn last_words(
        &mut self,
        agent: &Agent,
        processes: &BTreeMap<ComponentName, ProcessFact>,
    ) {
        for (&name, process) in processes {
            let ended = process.last_exit.as_ref();
            let Some(exit) = ended.filter(|_| process.quick_exits > 0) else {
                self.words.remove(&name);
                continue;
            };
            let known = self.words.get(&name);
            if known.is_some_and(|words| words.at_ms == exit.at_ms) {
                continue;
            }
            let dir = &agent.config.log_dir;
            // A log that cannot be read says nothing; what else is known of the end is told all the same.
            let lines: Vec<String> = logs::tail(dir, name.as_str(), LAST_LINES, None)
                .await
                .unwrap_or_default()
                .iter()
                .map(|line| line.chars().take(LAST_LINE_CHARS_MAX).collect())
                .collect();
            let taken = lines.iter().rev().find_map(|line| taken_address(line));
            let stranger = match taken {
                Some(address) => ports::holder(Protocol::Tcp, address).await.ok().flatten(),
                None => None,
            };
            let words = LastWords {
                at_ms: exit.at_ms,
                lines,
                stranger: stranger.map(|holder| holder.to_string()),
            };
            self.words.insert(name, words);
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
