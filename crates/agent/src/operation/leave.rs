//! `khactl leave`: this host leaves its cluster in order.
//!
//! ```text
//! check ─ vip ─ lease ─ control-plane ─ etcd ─ consensus ─ record ─ keys
//! └ the leader judges and begins it; its loop carries it out, journaled by the entries themselves
//! ```
//!
//! The same removal as `khactl remove` makes. This host asks, waits and tells; when the others call it removed it ends
//! what still runs and forgets its keys (see `departure`), whether anybody waits for that or not.

use khactl_model::component::ComponentName;
use khactl_model::state::{ClusterState, EtcdStage};
use khactl_proto::v1;
use std::sync::Arc;
use std::time::Duration;

use super::remove::Ask;
use super::{Journal, Patience, applied};
use crate::agent::{Agent, ProgressSender};
use crate::departure::Departure;
use crate::node::Node;
use crate::refused::Refused;
use crate::time;

const DOING: &str = "leave the cluster";
/// An election, and a question to each of the others after it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// The log reaches this host within an election and a few messages.
const LOG_TIMEOUT: Duration = Duration::from_mins(1);
const ASK_EVERY: Duration = Duration::from_millis(200);
/// The components that use etcd.
const CONTROL_PLANE: [ComponentName; 3] = [
    ComponentName::KubeApiserver,
    ComponentName::KubeControllerManager,
    ComponentName::KubeScheduler,
];

/// Runs it, or follows one that is under way or was complete before.
///
/// # Errors
/// The refusal that ended it; nothing is half done, and it may be run again.
pub async fn run(
    agent: &Arc<Agent>,
    actor: &str,
    request: &v1::LeaveRequest,
    sender: &ProgressSender,
) -> Result<(), Refused> {
    let mut journal = Journal::new(sender, actor);
    journal.begin("check").await?;
    if agent.departed.known().is_none() {
        let node = agent.node().ok_or_else(|| {
            Refused::new(
                "KHA3050",
                DOING,
                "this host is not a member of a cluster",
                "nothing to do",
            )
        })?;
        if !was_removed(&node).await? {
            let operation = begin(&node, actor, request.force).await?;
            journal.finish("check").await?;
            journal.read_in(&node, operation);
        }
        follow(agent, &node, &journal).await?;
    } else {
        journal.finish("check").await?;
    }
    conclude(agent, &journal).await
}

/// Asks through a quorum, or hears from any of the others that this host is none of theirs any more.
async fn was_removed(node: &Node) -> Result<bool, Refused> {
    let deadline = khactl_sys::clock::boottime() + ANSWER_TIMEOUT;
    loop {
        let answer = node.barrier().await;
        if node.standing.removed().is_some() {
            return Ok(true);
        }
        match answer {
            Ok(()) => return Ok(false),
            Err(refused) if khactl_sys::clock::boottime() >= deadline => {
                return Err(refused.while_doing(DOING));
            }
            Err(_) => {
                node.standing.doubt();
                time::pause(ASK_EVERY).await;
            }
        }
    }
}

async fn begin(node: &Node, actor: &str, force: bool) -> Result<u64, Refused> {
    let name = &node.member.host_name;
    if node.state().staying().all(|host| host.name == *name) && node.state().hosts.len() == 1 {
        return Err(Refused::new(
            "KHA2080",
            DOING,
            format!("{name} is the last host of the cluster"),
            "let another host join first; or end the cluster and lose its data: `khactl reset`",
        ));
    }
    let ask = Ask {
        host_name: name.clone(),
        force,
        leaves: true,
    };
    let operation = ask.leader(node, actor).await?;
    applied(node, DOING, LOG_TIMEOUT, |state| {
        state.operations.contains_key(&operation) || node.standing.removed().is_some()
    })
    .await?;
    Ok(operation)
}

/// Until the others say that this host is removed.
async fn follow(agent: &Agent, node: &Node, journal: &Journal<'_>) -> Result<(), Refused> {
    let id = node.member.host_id;
    let until = |node: &Node, missing: &str, so: bool| {
        if so || node.standing.removed().is_some() {
            return Ok(());
        }
        let waiting = node.leader_view.borrow().waiting.clone();
        Err(if waiting.is_empty() {
            missing.to_owned()
        } else {
            waiting
        })
    };
    let state = |node: &Node, so: fn(&ClusterState, u64) -> bool| {
        node.raft.with_machine(|machine| so(machine.state(), id))
    };
    journal
        .wait_until("vip", node, |node| {
            let view = node.vip_view.borrow();
            let holds = view.fact.as_ref().is_some_and(|fact| fact.holding);
            until(
                node,
                "the leader has it handed over to another host",
                !holds,
            )
        })
        .await?;
    journal
        .wait_until("lease", node, |node| {
            let left = state(node, |state, id| !state.lease.members.contains(&id));
            until(node, "the leader takes it out of the VIP's lease", left)
        })
        .await?;
    if node.state().runs_etcd() {
        journal
            .wait_until("control-plane", node, |node| {
                let facts = agent.processes.facts();
                let running = CONTROL_PLANE
                    .into_iter()
                    .find(|name| facts.get(name).is_some_and(|process| process.running));
                match running {
                    None => Ok(()),
                    Some(name) => until(node, &format!("{name} finishes what it was asked"), false),
                }
            })
            .await?;
        journal
            .wait_until("etcd", node, |node| {
                let left = state(node, |state, id| {
                    let host = state.host_by_id(id);
                    host.is_none_or(|host| host.etcd.stage == EtcdStage::Absent)
                });
                until(node, "the leader takes its member out of etcd", left)
            })
            .await?;
    }
    journal
        .wait_until("consensus", node, |node| {
            let voter = node.raft.status().borrow().is_voter(id);
            until(node, "the leader takes its vote", !voter)
        })
        .await?;
    journal
        .wait_until("record", node, |node| {
            until(node, "another host has to call it removed", false)
        })
        .await
}

/// Until nothing of the cluster runs here any more and its keys are gone.
async fn conclude(agent: &Agent, journal: &Journal<'_>) -> Result<(), Refused> {
    journal.begin("keys").await?;
    let mut patience = Patience::new("keys");
    while !agent.departed.is_concluded() {
        let hindered = agent.departed.hindered();
        patience.still_missing(journal, &hindered).await?;
        time::pause(ASK_EVERY).await;
    }
    journal.finish("keys").await?;
    let cluster = agent.departed.known();
    journal
        .done(&format!(
            "{} has left cluster {}, and its keys are gone from here. `khactl reset` takes away the rest; then it may \
             join again",
            agent.config.host_name,
            cluster.as_ref().map_or("", Departure::cluster_name)
        ))
        .await
}
