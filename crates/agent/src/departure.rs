//! What a host does once it is no host of its cluster any more: nothing of it runs on, nothing of it stays in the
//! kernel, and no key of the cluster stays on the disk. Being removed survives a restart.
//!
//! ```text
//! removed (KHA3021) ─ state/departed.json ─ components ended ─ VIP and gate gone ─ keys gone ─▶ concluded
//!                     └ a later start of khad goes on from here, and starts no member
//! ```
//!
//! It never touches etcd's data, the log of consensus, or what others wrote: that is `khactl reset`'s.

use khactl_model::component::ComponentName;
use khactl_model::status::{ClusterStatus, Problem};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::process::Command;

use crate::agent::Agent;
use crate::carry::{beside_khad, host_refused};
use crate::member::Member;
use crate::refused::{Refused, chain};
use crate::time;

/// The refusal that a removed host gets, and the problem that its status shows.
pub const REMOVED: &str = "KHA3021";
/// How a removed machine becomes a host again.
pub const AGAIN: &str =
    "if it is to be a host again: `khactl reset` there, then let it join with a new token";
/// A component may take so long to end in order; etcd writes its state out.
const GRACE: Duration = Duration::from_secs(5);
/// `khavip gate remove` sends some netlink requests and starts `nft` at most.
const GATE_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two tries.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// `state/departed.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Departure {
    cluster_id: String,
    cluster_name: String,
    host_name: String,
    /// Another host's words.
    why: String,
}

/// Whether this host has left its cluster, and how far it is with that.
#[derive(Debug, Default)]
pub struct Departed(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    departure: Option<Departure>,
    concluded: bool,
    hindered: String,
}

impl Departure {
    /// Of that member, in another host's words.
    pub fn of(member: &Member, why: &str) -> Self {
        Self {
            cluster_id: member.cluster_id.clone(),
            cluster_name: member.cluster_name.clone(),
            host_name: member.host_name.clone(),
            why: why.to_owned(),
        }
    }

    /// The cluster that this host was one of.
    pub fn cluster_name(&self) -> &str {
        &self.cluster_name
    }

    /// The id of that cluster.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// For the status.
    pub fn problem(&self) -> Problem {
        Problem {
            code: REMOVED.to_owned(),
            host: self.host_name.clone(),
            text: self.why.clone(),
            advice: AGAIN.to_owned(),
        }
    }

    /// The status of a host that is none of its cluster's any more.
    pub fn status(&self) -> ClusterStatus {
        ClusterStatus {
            cluster: self.cluster_name.clone(),
            cluster_id: self.cluster_id.clone(),
            problems: vec![self.problem()],
            seen_by: self.host_name.clone(),
            ..ClusterStatus::default()
        }
    }
}

impl Departed {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of it; `None` on a host of a cluster, and on one that never was.
    pub fn known(&self) -> Option<Departure> {
        self.state().departure.clone()
    }

    /// This host has left.
    pub fn set(&self, departure: Departure) {
        self.state().departure.get_or_insert(departure);
    }

    /// Nothing of the cluster runs here, and its keys are gone.
    pub fn is_concluded(&self) -> bool {
        self.state().concluded
    }

    /// What keeps it from that, for people.
    pub fn hindered(&self) -> String {
        let state = self.state();
        if state.hindered.is_empty() {
            return "the components end".to_owned();
        }
        state.hindered.clone()
    }

    /// Notes how a try ended; true if that is news.
    fn tried(&self, outcome: &Result<(), Refused>) -> bool {
        let mut state = self.state();
        let text = outcome.as_ref().err().map(ToString::to_string);
        let text = text.unwrap_or_default();
        let news = state.concluded != outcome.is_ok() || state.hindered != text;
        state.concluded = outcome.is_ok();
        state.hindered = text;
        news
    }
}

/// Refuses what a host must not begin that still has the rest of another membership on it.
///
/// # Errors
/// It was removed, and not reset since.
pub fn refuse(agent: &Agent, doing: &str) -> Result<(), Refused> {
    match agent.departed.known() {
        None => Ok(()),
        Some(departure) => Err(Refused::new(
            "KHA2092",
            doing,
            format!(
                "this host was one of cluster {}, and what it had of that is still here",
                departure.cluster_name
            ),
            "take it away first: `khactl reset`",
        )),
    }
}

/// Tries until nothing is left to do, and then once in a while whether that is still so.
pub async fn see_to(agent: &Agent, departure: Departure) {
    agent.departed.set(departure.clone());
    loop {
        let outcome = conclude(agent, &departure).await;
        if agent.departed.tried(&outcome) {
            match &outcome {
                Ok(()) => tracing::info!(
                    cluster = departure.cluster_name,
                    "nothing of the cluster runs here any more, and its keys are gone"
                ),
                Err(refused) => {
                    tracing::warn!(code = refused.code, "{refused}");
                }
            }
        }
        time::pause(AGAIN_AFTER).await;
    }
}

async fn conclude(agent: &Agent, departure: &Departure) -> Result<(), Refused> {
    if !agent.departed.is_concluded() {
        agent.keeping.keep_departure(departure).await?;
    }
    // khavip is the first of them.
    for name in ComponentName::ALL {
        let running = agent
            .processes
            .facts()
            .get(&name)
            .is_some_and(|process| process.running);
        if running {
            agent
                .processes
                .stop(name, GRACE)
                .await
                .map_err(|error| host_refused("end a removed host's component", &error))?;
        }
    }
    if !agent.departed.is_concluded() {
        clear_kernel(&agent.config.run_dir).await?;
        agent.keeping.forget_keys().await?;
    }
    Ok(())
}

/// Takes away what this host's khavip, which has ended, left in the kernel: the VIP, the gate, its neighbour entries.
///
/// # Errors
/// Some of it is there still.
pub async fn clear_kernel(run_dir: &Path) -> Result<(), Refused> {
    let khavip = beside_khad("khavip");
    let failed = |wrong: String| {
        Refused::new(
            "KHA3022",
            "take away what khavip left in the kernel",
            wrong,
            "mend what is named; it is tried again. By hand: `khavip gate remove`",
        )
    };
    let run = Command::new(&khavip)
        .args(["gate", "remove", "--run-dir"])
        .arg(run_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(GATE_TIMEOUT, run).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(failed(said.lines().last().unwrap_or_default().to_owned()))
        }
        Ok(Err(error)) => Err(failed(format!("{}: {}", khavip.display(), chain(&error)))),
        Err(_) => Err(failed(format!("{} did not end", khavip.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hinders_is_news_once_and_a_success_ends_it() {
        let departed = Departed::default();
        assert_eq!(departed.hindered(), "the components end");
        let failed = || Err(Refused::new("KHA3022", "try", "it is stuck", "wait"));
        assert!(departed.tried(&failed()));
        assert!(!departed.tried(&failed()));
        assert!(departed.hindered().contains("it is stuck"));
        assert!(!departed.is_concluded());
        assert!(departed.tried(&Ok(())));
        assert!(departed.is_concluded());
        assert!(!departed.tried(&Ok(())));
    }
}
