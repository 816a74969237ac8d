//! `khactl remove`: another host leaves the cluster for good, whether it lives or not.
//!
//! ```text
//! check ─ lease ─ etcd ─ consensus ─ record
//! └ the leader judges and begins it; from then on the leader's loop carries it out
//! ```
//!
//! This host only asks, waits and tells: the removal goes on without it.

use khactl_model::command::{Command, OperationKind};
use khactl_model::state::{ClusterState, EtcdStage, OperationState};
use khactl_plan::Verdict;
use khactl_proto::v1;
use std::sync::Arc;
use std::time::Duration;

use super::{Journal, applied, count_warning};
use crate::agent::{Agent, ProgressSender};
use crate::cluster_loop;
use crate::node::Node;
use crate::refused::Refused;
use crate::time;

const DOING: &str = "remove a host";
const LEAVING: &str = "leave the cluster";
const STEPS: [&str; 5] = ["check", "lease", "etcd", "consensus", "record"];
/// A change of the leader meanwhile takes an election.
const LEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// A new leader has heard from all that live after so long: hosts report every second.
const COLLECT_MS: u64 = 2_000;
/// The log reaches this host within an election and a few messages.
const LOG_TIMEOUT: Duration = Duration::from_mins(1);

/// Runs it, or follows one that is under way.
///
/// # Errors
/// The refusal that ended it; nothing is half done, and it may be run again.
pub async fn run(
    agent: &Arc<Agent>,
    actor: &str,
    request: &v1::RemoveHostRequest,
    sender: &ProgressSender,
) -> Result<(), Refused> {
    let name = &request.host;
    let mut journal = Journal::new(sender, actor);
    journal.begin("check").await?;
    let node = agent.node().ok_or_else(|| {
        Refused::new(
            "KHA3050",
            DOING,
            "this host is not a member of a cluster",
            "run the command on a host that stays",
        )
    })?;
    if *name == node.member.host_name {
        return Err(Refused::new(
            "KHA2083",
            DOING,
            format!("{name} is this very host"),
            "run the command on a host that stays, or `khactl leave` here",
        ));
    }
    node.barrier().await.map_err(|r| r.while_doing(DOING))?;
    let state = node.state();
    let Some(host) = state.hosts.get(name) else {
        let operation = removed_earlier(&state, name).ok_or_else(|| no_host(name))?;
        journal.record_in(&node, operation);
        return tell_again(&journal, &node, operation, name).await;
    };
    let host_id = host.id;
    let ask = Ask {
        host_name: name.clone(),
        force: request.force,
        leaves: false,
    };
    let operation = ask.leader(&node, actor).await?;
    applied(&node, DOING, LOG_TIMEOUT, |state| {
        state.operations.contains_key(&operation)
    })
    .await?;
    journal.finish("check").await?;
    journal.record_in(&node, operation);

    let runs_etcd = state.runs_etcd();
    journal
        .wait_until("lease", &node, |node| {
            wait(node, "it takes no part in the VIP's lease", |state| {
                !state.lease.members.contains(&host_id)
            })
        })
        .await?;
    if runs_etcd {
        journal
            .wait_until("etcd", &node, |node| {
                wait(node, "its etcd member is out", |state| {
                    state
                        .host_by_id(host_id)
                        .is_none_or(|host| host.etcd.stage == EtcdStage::Absent)
                })
            })
            .await?;
    }
    journal
        .wait_until("consensus", &node, |node| {
            let group = node.raft.status().borrow().clone();
            wait(node, "its agent is out of consensus", |_| {
                group.member(host_id).is_none()
            })
        })
        .await?;
    journal
        .wait_until("record", &node, |node| {
            wait(node, "its record is gone", |state| {
                state.host_by_id(host_id).is_none()
            })
        })
        .await?;
    let left = node.state().hosts.len();
    if let Some(warning) = count_warning(left) {
        journal.warn("record", &warning).await;
    }
    journal.done(&what_is(name, left)).await
}

/// Judges a removal and begins it. On the leader only.
///
/// # Errors
/// The removal is refused, or this host does not lead.
pub async fn begin(node: &Node, actor: &str, ask: &Ask) -> Result<u64, Refused> {
    let host_name = &ask.host_name;
    // What a new leader has not heard yet it must not take for dead.
    let collected = || {
        let since_ms = node.reports().leading_since_ms();
        since_ms.is_none_or(|since_ms| time::boot_ms() >= since_ms + COLLECT_MS)
    };
    while node.raft.is_leader() && !collected() {
        time::pause(Duration::from_millis(100)).await;
    }
    let state = node.state();
    let host = state
        .hosts
        .get(host_name)
        .ok_or_else(|| no_host(host_name))?;
    if host.removal.is_none() {
        ask.refuse(cluster_loop::judge(node, host.id)?)?;
    }
    let command = Command::StartRemoval {
        host_name: host_name.clone(),
        forced: ask.force,
        leaves: ask.leaves,
    };
    let operation = node
        .propose_here(actor, command)
        .await
        .map_err(|r| r.while_doing(ask.doing()))?;
    node.cluster_changed.notify_one();
    Ok(operation)
}

/// Which host is to go, and how it was asked for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The host.
    pub host_name: String,
    /// Also if fewer faults are borne afterwards.
    pub force: bool,
    /// The host itself asks.
    pub leaves: bool,
}

impl Ask {
    fn doing(&self) -> &'static str {
        if self.leaves { LEAVING } else { DOING }
    }

    fn refuse(&self, verdict: Verdict) -> Result<(), Refused> {
        let host_name = &self.host_name;
        match verdict {
            Verdict::Harmless => Ok(()),
            Verdict::BearsLess(_) if self.force => Ok(()),
            Verdict::BearsLess(numbers) => Err(Refused::new(
                "KHA2085",
                self.doing(),
                format!("without {host_name} the cluster bears less: {numbers}"),
                "let another host join first; or say `--force` if that is what you want",
            )),
            Verdict::Stops(numbers) => Err(Refused::new(
                "KHA2084",
                self.doing(),
                format!("without {host_name} {numbers}"),
                "let the other hosts run first, or let another one join",
            )),
        }
    }

    /// Has the leader judge and begin it. Tries again where the request has certainly not been taken, or where a
    /// second one does no harm.
    ///
    /// # Errors
    /// The leader's refusal, or that there is none.
    pub async fn leader(&self, node: &Node, actor: &str) -> Result<u64, Refused> {
        let deadline = khactl_sys::clock::boottime() + LEADER_TIMEOUT;
        loop {
            let asked = match node.leader_address() {
                None => begin(node, actor, self).await,
                Some(leader) => node
                    .peer(leader)
                    .remove(time::within(
                        LEADER_TIMEOUT,
                        v1::RemoveRequest {
                            host_name: self.host_name.clone(),
                            force: self.force,
                            actor: actor.to_owned(),
                            leaves: self.leaves,
                        },
                    ))
                    .await
                    .map(|answer| answer.into_inner().operation)
                    .map_err(|status| Refused::of_call(self.doing(), &status)),
            };
            let again = |refused: &Refused| {
                matches!(
                    refused.kind,
                    tonic::Code::Aborted | tonic::Code::Unavailable | tonic::Code::Unknown
                ) && khactl_sys::clock::boottime() < deadline
            };
            match asked {
                Err(refused) if again(&refused) => time::pause(Duration::from_millis(100)).await,
                asked => return asked,
            }
        }
    }
}

/// What a step waits for: in the leader's words where this host leads.
fn wait(node: &Node, until: &str, done: impl FnOnce(&ClusterState) -> bool) -> Result<(), String> {
    if node.raft.with_machine(|machine| done(machine.state())) {
        return Ok(());
    }
    let waiting = node.leader_view.borrow().waiting.clone();
    Err(if waiting.is_empty() {
        format!("the leader sees to it that {until}; `khactl status` tells what it waits for")
    } else {
        waiting
    })
}

fn removed_earlier(state: &ClusterState, name: &str) -> Option<u64> {
    [OperationKind::Remove, OperationKind::Leave]
        .into_iter()
        .filter_map(|kind| state.operation_of(kind, name))
        .filter(|(_, operation)| operation.state == OperationState::Done)
        .map(|(id, _)| id)
        .max()
}

/// It was complete before it was asked for again.
async fn tell_again(
    journal: &Journal<'_>,
    node: &Node,
    operation: u64,
    name: &str,
) -> Result<(), Refused> {
    let state = node.state();
    for step in STEPS {
        if state.operations[&operation].finished(step) {
            journal.finish(step).await?;
        }
    }
    journal.done(&what_is(name, state.hosts.len())).await
}

fn what_is(name: &str, left: usize) -> String {
    format!(
        "{name} is removed, {left} hosts are left. Its machine is refused from now on; to use it again, \
         `khactl reset` there"
    )
}

fn no_host(name: &str) -> Refused {
    Refused::new(
        "KHA2020",
        DOING,
        format!("there is no host {name}"),
        "`khactl status` shows those there are",
    )
}
