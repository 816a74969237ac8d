//! Who is a host of this cluster: whether a caller still is one, and whether this host is.
//!
//! A host that was removed keeps its certificate, its log and its processes, and nobody may be
//! able to tell it. So the others refuse it by the record that its removal left, and it takes that
//! refusal for the news: it then ends every component and does nothing any more.
//!
//! ```text
//! member ──a host refuses it with KHA3021──▶ removed: khavip first, then all others are ended
//! ```

use khactl_model::component::ComponentName;
use khactl_model::status::Problem;
use khactl_proto::v1;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tonic::{Request, Status};

use crate::agent::Agent;
use crate::net;
use crate::node::Node;
use crate::refused::{Refused, chain};
use crate::time;

/// The refusal that a removed host gets, and the problem that its status shows.
const REMOVED: &str = "KHA3021";
/// A host that is out of touch asks one of the others so often.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long one of them may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// A component of a removed host may take so long to end in order; etcd writes its state out.
const GRACE: Duration = Duration::from_secs(5);

/// Whether this host is still one of the cluster, as far as it was told.
#[derive(Debug, Default)]
pub struct Standing {
    /// The leader took this host's last report.
    in_touch: AtomicBool,
    /// Another host's words.
    removed: OnceLock<String>,
}

impl Standing {
    /// What another host said of this one's removal; none while it is a host of the cluster.
    pub fn removed(&self) -> Option<&str> {
        self.removed.get().map(String::as_str)
    }

    /// The leader took a report of this host, or this host leads.
    pub fn heard(&self) {
        self.in_touch.store(true, Ordering::Relaxed);
    }

    /// Another host refused a call, or did not answer.
    pub fn missed(&self, status: &Status) {
        self.in_touch.store(false, Ordering::Relaxed);
        let Some(refusal) = net::refusal(status).filter(|refusal| refusal.code == REMOVED) else {
            return;
        };
        let why = refusal.wrong;
        if self.removed.set(why.clone()).is_ok() {
            tracing::error!(
                code = REMOVED,
                why,
                "this host was removed: its components are ended"
            );
        }
    }

    /// The same for the status.
    pub fn problem(&self, host: &str) -> Option<Problem> {
        self.removed().map(|why| Problem {
            code: REMOVED.to_owned(),
            host: host.to_owned(),
            text: why.to_owned(),
            advice: AGAIN.to_owned(),
        })
    }
}

/// How a removed machine becomes a host again.
const AGAIN: &str = "if it is to be a host again: stop khad there, empty its data folder, start khad and \
                     let it join with a new token";

/// The calling host's name, unless it was removed. A host that this one has not heard of yet may
/// call: it may be ahead.
///
/// # Errors
/// `PermissionDenied` for who is no host; KHA3021 for one that was removed.
pub fn require_standing<T>(node: &Node, request: &Request<T>) -> Result<String, Status> {
    let name = net::require_host(request)?;
    let key_pin = net::caller(request).key_pin.unwrap_or_default();
    let removed = node
        .raft
        .with_machine(|machine| machine.state().removed_by_key(&key_pin).cloned());
    match removed {
        None => Ok(name),
        Some(host) => Err(Refused::new(
            REMOVED,
            "answer another agent",
            format!(
                "{} was removed from cluster {} at {}",
                host.name,
                node.member.cluster_name,
                crate::issue::wall_text(host.at_ms)
            ),
            AGAIN,
        )
        .into()),
    }
}

/// Asks the others while this host is out of touch, and ends its components once it is removed.
pub fn spawn(agent: &Arc<Agent>, node: &Arc<Node>) {
    let stopping = agent.tasks.stopping();
    let (agent, node) = (Arc::clone(agent), Arc::clone(node));
    let tasks = Arc::clone(&agent);
    tasks.tasks.spawn("watch this host's standing", async move {
        let watch = async {
            for turn in 0_usize.. {
                if node.standing.removed().is_some() {
                    end_components(&agent).await;
                } else if !node.standing.in_touch.load(Ordering::Relaxed) {
                    ask(&node, turn).await;
                }
                time::pause(ASK_EVERY).await;
            }
        };
        tokio::select! {
            () = watch => {}
            () = stopping => {}
        }
    });
}

/// One after the other: the leader that this host remembers may be gone for good.
async fn ask(node: &Node, turn: usize) {
    let mut others: Vec<_> = node
        .state()
        .hosts
        .into_values()
        .filter(|host| host.id != node.member.host_id)
        .map(|host| host.agent_address())
        .collect();
    if others.is_empty() {
        others = node.member.contacts.iter().map(|c| c.address).collect();
    }
    let Some(address) = others.get(turn % others.len().max(1)) else {
        return;
    };
    let call = time::within(ASK_TIMEOUT, v1::BarrierRequest {});
    if let Err(status) = node.peer(*address).barrier(call).await {
        node.standing.missed(&status);
    }
}

/// khavip is the first of them.
async fn end_components(agent: &Agent) {
    for name in ComponentName::ALL {
        let running = agent
            .processes
            .facts()
            .get(&name)
            .is_some_and(|process| process.running);
        if running && let Err(error) = agent.processes.stop(name, GRACE).await {
            tracing::warn!(error = %chain(&error), component = %name, "a removed host's component did not end");
        }
    }
}
