//! A watch of ConfigMaps through the VIP, by client-go's own transport, and when it told what.
//!
//! `kubectl get -w` ends when the server closes the stream, and one that is started again lists anew, which hides what
//! the stream missed. This goes on as a controller does: one list, then `kubectl get --raw …?watch&resourceVersion=N`;
//! when that ends, the next one from the last version that was seen; only a version that the server no longer knows is
//! listed anew, and that is counted.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use khactl_lab::LabHost;
use khactl_lab::measure::now_us;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::kube::KUBECONFIG;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// What khactl sets for controllers: a connection that is silent for 5 s is asked, and given up 5 s later.
pub const CHECKED: [(&str, &str); 2] = [
    ("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "5"),
    ("HTTP2_PING_TIMEOUT_SECONDS", "5"),
];
/// Between two tries of a client that is refused, as client-go's first wait.
const BACK_OFF: Duration = Duration::from_millis(800);

/// What a watch has told so far.
#[derive(Debug, Default)]
struct Told {
    /// When a ConfigMap of a name was first told, in microseconds since boot.
    names: BTreeMap<String, u64>,
    /// When anything was told, in the order of time.
    events_us: Vec<u64>,
    /// When a stream ended, and what its process said.
    ends: Vec<(u64, String)>,
    /// How often everything was listed anew.
    relists: usize,
    /// The version to go on from; empty: everything is to be listed.
    version: String,
    over: bool,
    running: Option<Child>,
}

/// A running watch. Dropped, it ends.
#[derive(Debug)]
pub struct Watch {
    told: Arc<Mutex<Told>>,
    following: Option<JoinHandle<()>>,
}

/// What it had told between two moments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Silence {
    /// The longest time without an event.
    pub longest: Duration,
    /// How many streams ended, and what the processes said.
    pub ends: Vec<String>,
}

impl Watch {
    /// Starts it in the client, whose process gets this environment.
    #[track_caller]
    pub fn start(cluster: &Cluster, env: &[(&'static str, &'static str)]) -> Self {
        let told = Arc::new(Mutex::new(Told::default()));
        let client = cluster.lab().client().clone();
        let (shared, env) = (Arc::clone(&told), env.to_vec());
        // A lab's command dies with the thread that started it: one thread starts and reads them all.
        let following = thread::spawn(move || {
            while !lock(&shared).over {
                if !follow(&client, &env, &shared) {
                    thread::sleep(BACK_OFF);
                }
            }
        });
        Self {
            told,
            following: Some(following),
        }
    }

    /// How long it was silent, at most, from one moment to another; a silence may have begun before.
    pub fn silence(&self, from_us: u64, to_us: u64) -> Silence {
        let told = lock(&self.told);
        let within = |us: &u64| (from_us..=to_us).contains(us);
        let first = told.events_us.partition_point(|us| *us < from_us);
        let mut last = first
            .checked_sub(1)
            .map_or(from_us, |place| told.events_us[place]);
        let mut longest = 0;
        for us in told.events_us[first..]
            .iter()
            .copied()
            .filter(within)
            .chain([to_us])
        {
            longest = longest.max(us.saturating_sub(last));
            last = us;
        }
        Silence {
            longest: Duration::from_micros(longest),
            ends: told
                .ends
                .iter()
                .filter(|(us, _)| within(us))
                .map(|(_, said)| said.clone())
                .collect(),
        }
    }

    /// How many events it has told since a moment.
    pub fn events_since(&self, from_us: u64) -> usize {
        let told = lock(&self.told);
        told.events_us.len() - told.events_us.partition_point(|us| *us < from_us)
    }

    /// How often it had to list everything anew after the first time.
    pub fn relists(&self) -> usize {
        lock(&self.told).relists.saturating_sub(1)
    }

    /// Those of these ConfigMaps of which it has told nothing.
    pub fn missing<'a>(&self, names: &[&'a str]) -> Vec<&'a str> {
        let told = lock(&self.told);
        let mut missing = names.to_vec();
        missing.retain(|name| !told.names.contains_key(*name));
        missing
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut told = lock(&self.told);
        told.over = true;
        if let Some(running) = &mut told.running {
            // One that has ended already says so, and that is all right.
            let _ = running.kill();
        }
        drop(told);
        if let Some(following) = self.following.take() {
            // It only fails if it panicked; there is nobody left to tell.
            let _ = following.join();
        }
    }
}

/// One list or one stream, to its end; whether it brought anything.
fn follow(client: &LabHost, env: &[(&str, &str)], shared: &Mutex<Told>) -> bool {
    let version = lock(shared).version.clone();
    let path = if version.is_empty() {
        CONFIG_MAPS.to_owned()
    } else {
        format!("{CONFIG_MAPS}?watch=1&allowWatchBookmarks=true&resourceVersion={version}")
    };
    let Ok(mut command) = client.exec("kubectl") else {
        return false;
    };
    command
        .args(["--kubeconfig", KUBECONFIG, "get", "--raw", &path])
        .envs(env.iter().copied());
    let Some((lines, errors)) = start(command, shared) else {
        return false;
    };
    let mut brought = false;
    for line in lines {
        let Ok(value) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        brought |= if version.is_empty() {
            listed(&value, &mut lock(shared))
        } else {
            happened(&value, &mut lock(shared), now_us())
        };
    }
    let mut said = String::new();
    // What a kill cut off is shown as far as it came.
    let _ = errors.map(|mut pipe| pipe.read_line(&mut said));
    let mut told = lock(shared);
    let ended = told.running.take().map(|mut child| child.wait());
    if !version.is_empty() {
        let how = match ended {
            Some(Ok(status)) => status.to_string(),
            _ => "lost".to_owned(),
        };
        told.ends.push((now_us(), format!("{how} {}", said.trim())));
    }
    brought
}

type Lines = std::iter::MapWhile<
    std::io::Lines<BufReader<std::process::ChildStdout>>,
    fn(std::io::Result<String>) -> Option<String>,
>;

/// Starts it as the one that runs.
fn start(
    mut command: Command,
    shared: &Mutex<Told>,
) -> Option<(Lines, Option<BufReader<std::process::ChildStderr>>)> {
    let mut told = lock(shared);
    if told.over {
        return None;
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let ok: fn(std::io::Result<String>) -> Option<String> = Result::ok;
    let lines = BufReader::new(child.stdout.take()?).lines().map_while(ok);
    let errors = child.stderr.take().map(BufReader::new);
    told.running = Some(child);
    Some((lines, errors))
}

/// Everything at one moment.
fn listed(list: &Value, told: &mut Told) -> bool {
    let Some(version) = list["metadata"]["resourceVersion"].as_str() else {
        return false;
    };
    version.clone_into(&mut told.version);
    told.relists += 1;
    let at_us = now_us();
    for item in list["items"].as_array().into_iter().flatten() {
        if let Some(name) = item["metadata"]["name"].as_str() {
            told.names.entry(name.to_owned()).or_insert(at_us);
        }
    }
    true
}

/// One event of a stream.
fn happened(event: &Value, told: &mut Told, at_us: u64) -> bool {
    if event["type"] == "ERROR" {
        // The version is one that the server no longer knows.
        told.version.clear();
        return false;
    }
    let metadata = &event["object"]["metadata"];
    if let Some(version) = metadata["resourceVersion"].as_str() {
        version.clone_into(&mut told.version);
    }
    if event["type"] != "BOOKMARK"
        && let Some(name) = metadata["name"].as_str()
    {
        told.names.entry(name.to_owned()).or_insert(at_us);
        told.events_us.push(at_us);
    }
    true
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn watch(told: Told) -> Watch {
        Watch {
            told: Arc::new(Mutex::new(told)),
            following: None,
        }
    }

    fn event(kind: &str, name: &str, version: &str) -> Value {
        json!({"type": kind, "object": {"metadata": {"name": name, "resourceVersion": version}}})
    }

    #[test]
    fn a_silence_may_begin_before_the_window_and_last_to_its_end() {
        let watch = watch(Told {
            events_us: vec![10, 400, 450],
            ends: vec![(5, "early".into()), (300, "within".into())],
            ..Told::default()
        });
        let seen = watch.silence(200, 460);
        assert_eq!(seen.longest, Duration::from_micros(390));
        assert_eq!(seen.ends, ["within"]);
        assert_eq!(watch.silence(500, 900).longest, Duration::from_micros(450));
        assert_eq!(watch.events_since(400), 2);
    }

    #[test]
    fn what_was_listed_or_told_is_not_missing_and_the_next_stream_goes_on_there() {
        let mut told = Told::default();
        let item = json!({"metadata": {"name": "a"}});
        let list = json!({"metadata": {"resourceVersion": "5"}, "items": [item]});
        assert!(listed(&list, &mut told));
        assert!(happened(&event("ADDED", "b", "7"), &mut told, 1));
        assert!(happened(&event("BOOKMARK", "", "9"), &mut told, 2));
        assert_eq!((told.version.as_str(), told.events_us.len()), ("9", 1));
        assert!(!happened(&event("ERROR", "", "0"), &mut told, 3));
        assert_eq!(told.version, "");
        assert_eq!(watch(told).missing(&["a", "b", "c"]), ["c"]);
    }
}
