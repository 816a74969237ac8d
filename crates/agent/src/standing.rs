//! Who is a host of this cluster: whether a caller still is one, and whether this host is.
//!
//! A host that was removed keeps its certificate, its log and its processes, and nobody may be
//! able to tell it. So the others refuse it by the record that its removal left, and it takes that
//! refusal for the news, and departs.
//!
//! ```text
//! member ──a host refuses it with KHA3021──▶ removed (see `departure`)
//! ```

use khactl_proto::v1;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tonic::{Request, Status};

use crate::agent::Agent;
use crate::departure::{self, AGAIN, Departure, REMOVED};
use crate::net;
use crate::node::Node;
use crate::refused::Refused;
use crate::time;

/// A host that is out of touch asks one of the others so often.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long one of them may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
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

    /// Somebody wants to know: one of the others is asked soon.
    pub fn doubt(&self) {
        self.in_touch.store(false, Ordering::Relaxed);
    }

    /// Another host refused a call, or did not answer.
    pub fn missed(&self, status: &Status) {
        self.in_touch.store(false, Ordering::Relaxed);
        let Some(refusal) = net::refusal(status).filter(|refusal| refusal.code == REMOVED) else {
            return;
        };
        let why = refusal.wrong;
        if self.removed.set(why.clone()).is_ok() {
            tracing::error!(code = REMOVED, why, "this host was removed: it departs");
        }
    }
}

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

/// Asks the others while this host is out of touch or on its way out, and departs once it is removed.
pub fn spawn(agent: &Arc<Agent>, node: &Arc<Node>) {
    let stopping = agent.tasks.stopping();
    let (agent, node) = (Arc::clone(agent), Arc::clone(node));
    let tasks = Arc::clone(&agent);
    tasks.tasks.spawn("watch this host's standing", async move {
        let watch = async {
            for turn in 0_usize.. {
                if let Some(why) = node.standing.removed() {
                    departure::see_to(&agent, Departure::of(&node.member, why)).await;
                } else if is_in_doubt(&node) {
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

/// A host that is not in consensus any more hears of no leader.
fn is_in_doubt(node: &Node) -> bool {
    !node.standing.in_touch.load(Ordering::Relaxed)
        || node.raft.leader().is_none()
        || node.host().is_none_or(|host| host.removal.is_some())
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
