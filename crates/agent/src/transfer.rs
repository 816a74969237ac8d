//! Handing over on purpose: the VIP and the agents' leadership, each to a host that was named. Both end when that host
//! has it, and neither says anything of how long it took.

use futures::future::join_all;
use khactl_model::facts::VipFact;
use khactl_model::state::{ClusterState, Host, Role};
use khactl_proto::v1;
use khactl_raft::Error;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::node::{Node, raft_refused};
use crate::refused::Refused;
use crate::time;
use crate::vip_client::VipClient;

const VIP: &str = "hand the VIP over";
const LEADER: &str = "hand the leadership over";

/// Of one question to another agent about its khavip.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// A hand-over takes milliseconds; at the longest lease the others need two seconds to find a new holder, should the
/// successor fail in the middle.
const VIP_TIMEOUT: Duration = Duration::from_secs(10);
/// A VIP that changes hands just now is on no host.
const HOLDER_TIMEOUT: Duration = Duration::from_secs(3);
/// Between two questions while waiting.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// The target's election, and one more after it should that fail; longer than the leader itself waits.
const LEADER_TIMEOUT: Duration = Duration::from_secs(20);

/// Hands the VIP over to that host. Needs no leader.
///
/// # Errors
/// Why that host cannot have it, or that it did not come to hold it.
pub async fn vip(node: &Node, host_name: &str) -> Result<v1::TransferResponse, Refused> {
    let state = node.state();
    let target = target(&state, host_name, VIP)?;
    if target.role == Role::Witness {
        return Err(Refused::new(
            "KHA2201",
            VIP,
            format!("{host_name} is a witness: it votes and never holds the VIP"),
            "name a control-plane host",
        ));
    }
    if !state.lease.members.contains(&target.id) {
        return Err(Refused::new(
            "KHA2202",
            VIP,
            format!("{host_name} takes no part in the lease"),
            "wait until `khactl status` shows it as a member of it",
        ));
    }
    let (holder, views) = holder(node, &state).await?;
    if holder.id == target.id {
        return Ok(v1::TransferResponse {
            moved: false,
            from: holder.name,
        });
    }
    refuse_unfit(&target, views.get(&target.id))?;
    hand_over(node, &holder, target.id).await?;
    await_holder(node, &target).await?;
    tracing::info!(
        from = holder.name,
        to = target.name,
        "the VIP was handed over"
    );
    Ok(v1::TransferResponse {
        moved: true,
        from: holder.name,
    })
}

/// What this host's own khavip says.
pub async fn own_view(node: &Node) -> Option<VipFact> {
    VipClient::new(&node.config.vip_socket()).status().await
}

fn target(state: &ClusterState, host_name: &str, doing: &str) -> Result<Host, Refused> {
    state.hosts.get(host_name).cloned().ok_or_else(|| {
        Refused::new(
            "KHA2020",
            doing,
            format!("there is no host {host_name}"),
            "`khactl status` shows those there are",
        )
    })
}

fn refuse_unfit(target: &Host, view: Option<&VipFact>) -> Result<(), Refused> {
    let name = &target.name;
    let Some(view) = view else {
        return Err(Refused::new(
            "KHA2204",
            VIP,
            format!("the khavip of {name} does not answer"),
            format!("see whether {name} is up; `khactl logs khavip --host {name}`"),
        ));
    };
    if view.fit && view.ready {
        return Ok(());
    }
    let why = match view.reason.as_str() {
        "" if view.fit => "it waits out the silence after a start",
        "" => "no backend of its balancer is healthy, or its interface is down",
        reason => reason,
    };
    Err(Refused::new(
        "KHA2205",
        VIP,
        format!("{name} cannot hold it now: {why}"),
        format!("mend that; `khactl logs khavip --host {name}` tells more"),
    ))
}

/// Who holds the VIP, with what every member's khavip says.
async fn holder(
    node: &Node,
    state: &ClusterState,
) -> Result<(Host, BTreeMap<u64, VipFact>), Refused> {
    let deadline = khactl_sys::clock::boottime() + HOLDER_TIMEOUT;
    let members: Vec<Host> = state
        .lease
        .members
        .iter()
        .filter_map(|id| state.host_by_id(*id).cloned())
        .collect();
    loop {
        let views = views(node, &members).await;
        let holder = members
            .iter()
            .find(|host| views.get(&host.id).is_some_and(|view| view.holding));
        if let Some(holder) = holder {
            return Ok((holder.clone(), views));
        }
        if khactl_sys::clock::boottime() >= deadline {
            return Err(Refused::new(
                "KHA2203",
                VIP,
                "no host that answers holds it",
                "`khactl status` says for every host why it does not",
            ));
        }
        time::pause(ASK_EVERY).await;
    }
}

/// What the khavips of these hosts say, by host id; those that do not answer are not in it.
pub(crate) async fn views(node: &Node, members: &[Host]) -> BTreeMap<u64, VipFact> {
    let asked = members
        .iter()
        .map(|host| async move { (host.id, view(node, host).await) });
    join_all(asked)
        .await
        .into_iter()
        .filter_map(|(id, view)| Some((id, view?)))
        .collect()
}

/// What a host's khavip says; `None`: it, or its agent, does not answer.
async fn view(node: &Node, host: &Host) -> Option<VipFact> {
    if host.id == node.member.host_id {
        return own_view(node).await;
    }
    let answer = node
        .peer(host.agent_address())
        .vip_view(time::within(ASK_TIMEOUT, v1::VipViewRequest {}))
        .await
        .ok()?;
    serde_json::from_str(&answer.into_inner().json).ok()
}

/// Has the holder's khavip hand the VIP over to that host.
///
/// # Errors
/// The holder's agent, or its khavip, does not answer.
pub async fn hand_over(node: &Node, holder: &Host, successor_id: u64) -> Result<(), Refused> {
    if holder.id == node.member.host_id {
        return own_hand_over(node, successor_id).await.map(drop);
    }
    node.peer(holder.agent_address())
        .hand_over_vip(time::within(
            VIP_TIMEOUT,
            v1::HandOverVipRequest { successor_id },
        ))
        .await
        .map(drop)
        .map_err(|status| Refused::of_call(VIP, &status))
}

/// Has this host's khavip hand the VIP over; true if it held it.
///
/// # Errors
/// It does not answer.
pub async fn own_hand_over(node: &Node, successor_id: u64) -> Result<bool, Refused> {
    VipClient::new(&node.config.vip_socket())
        .hand_over(Some(successor_id).filter(|id| *id != 0))
        .await
        .map_err(|error| {
            Refused::new(
                "KHA2206",
                VIP,
                crate::refused::chain(&error),
                "see `khactl logs khavip`",
            )
        })
}

async fn await_holder(node: &Node, target: &Host) -> Result<(), Refused> {
    let deadline = khactl_sys::clock::boottime() + VIP_TIMEOUT;
    while khactl_sys::clock::boottime() < deadline {
        if view(node, target).await.is_some_and(|view| view.holding) {
            return Ok(());
        }
        time::pause(ASK_EVERY).await;
    }
    Err(Refused::new(
        "KHA2207",
        VIP,
        format!(
            "it was given up, and {} did not come to hold it in {} s",
            target.name,
            VIP_TIMEOUT.as_secs()
        ),
        "`khactl status` shows who holds it, and why that host does not",
    )
    .late())
}

/// Lets that host lead the agents.
///
/// # Errors
/// Why it cannot, or that it did not come to lead.
pub async fn leader(node: &Node, host_name: &str) -> Result<v1::TransferResponse, Refused> {
    match node.leader_address() {
        None => leader_here(node, host_name).await,
        Some(leader) => node
            .peer(leader)
            .transfer_leader(time::within(
                LEADER_TIMEOUT,
                v1::TransferRequest {
                    host: host_name.to_owned(),
                },
            ))
            .await
            .map(tonic::Response::into_inner)
            .map_err(|status| Refused::of_call(LEADER, &status)),
    }
}

/// The same on the host that leads.
///
/// # Errors
/// This host does not lead, or one of [`leader`]'s.
pub async fn leader_here(node: &Node, host_name: &str) -> Result<v1::TransferResponse, Refused> {
    let target = target(&node.state(), host_name, LEADER)?;
    let from = node.member.host_name.clone();
    if target.id == node.member.host_id && node.raft.is_leader() {
        return Ok(v1::TransferResponse { moved: false, from });
    }
    if !node.raft.status().borrow().is_voter(target.id) {
        return Err(Refused::new(
            "KHA2211",
            LEADER,
            format!("{host_name} has no vote among the agents"),
            "wait until `khactl status` shows it as a voter",
        ));
    }
    match node.raft.transfer_leader(target.id).await {
        Ok(()) => Ok(v1::TransferResponse { moved: true, from }),
        Err(error @ Error::Behind { .. }) => Err(Refused::new(
            "KHA2212",
            LEADER,
            &error,
            format!("see whether {host_name} is up and reachable; try again"),
        )),
        Err(error @ Error::Transfer { .. }) => Err(Refused::new(
            "KHA2213",
            LEADER,
            &error,
            "`khactl status` shows who leads now; try again",
        )
        .late()),
        Err(error) => Err(raft_refused(LEADER, &error)),
    }
}
