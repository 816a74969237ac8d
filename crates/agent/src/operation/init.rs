//! `khactl init`: this host becomes the first of a new cluster.
//!
//! ```text
//! check ─ authorities ─ consensus ─ record ─ certificates ─ etcd ─ kube-apiserver ─ … ─ vip
//!         └ kept sealed in state/founding.json until the log has them ┘
//! ```
//! In external mode nothing stands between `record` and `khavip`.
//!
//! Before the first entry there is no journal in Raft: what must be the same in a second run
//! is in `founding.json`, sealed.

use khactl_model::command::{Command, CreateCluster, OperationKind};
use khactl_model::component::ComponentName;
use khactl_model::spec::{ClusterSpec, Mode, ValidSpec};
use khactl_model::state::{ClusterState, OperationState};
use khactl_proto::v1;
use khactl_raft::Peer;
use std::sync::Arc;
use std::time::Duration;

use super::{Journal, applied, caught_up, operation};
use crate::agent::{Agent, ProgressSender};
use crate::departure;
use crate::external;
use crate::founding::Founding;
use crate::member::{Member, RaftTimes};
use crate::node::{Node, raft_refused};
use crate::preflight;
use crate::refused::Refused;
use crate::try_arguments;

const DOING: &str = "make this host the first of a cluster";
/// A group of one elects itself within a second.
const LOG_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs or resumes it.
///
/// # Errors
/// The refusal that ended it; nothing is half done, and it may be run again.
pub async fn run(
    agent: &Arc<Agent>,
    actor: &str,
    request: &v1::InitRequest,
    sender: &ProgressSender,
) -> Result<(), Refused> {
    let mut journal = Journal::new(sender, actor);
    let _one = agent.operation.try_lock().map_err(|_| {
        Refused::new(
            "KHA2060",
            DOING,
            "another init or join is under way on this host",
            "wait until it has ended: `khactl status` shows it",
        )
    })?;

    journal.begin("check").await?;
    departure::refuse(agent, DOING)?;
    let spec = parse(&request.spec_yaml, &request.file)?;
    let node = match agent.node() {
        Some(node) => {
            // The first entry may be in the log and not applied yet. Once it is, the group may have
            // grown, and is not to be founded again.
            if node.member.is_founder() && node.state().cluster.is_none() {
                node.raft
                    .initialize(&me(&node))
                    .await
                    .map_err(|error| raft_refused("start consensus", &error))?;
            }
            may_resume(&node.state(), &node, &spec)?;
            // Refused above without a quorum where what is known is enough; what is not known yet is waited for.
            caught_up(&node, DOING, LOG_TIMEOUT).await?;
            may_resume(&node.state(), &node, &spec)?;
            Some(node)
        }
        None => None,
    };
    if node.is_none() {
        preflight::refuse_blocking(agent, Some(&spec), &request.file, DOING).await?;
        try_arguments::refuse_unknown(DOING, &spec, &try_arguments::all_of(&spec)).await?;
    }
    journal.finish("check").await?;

    let node = match node {
        Some(node) if node.state().cluster.is_some() => node,
        _ => found(agent, actor, &spec, node, &journal).await?,
    };
    let operation = operation(&node, actor, OperationKind::Init).await?;
    applied(&node, DOING, LOG_TIMEOUT, |state| {
        state.operations.contains_key(&operation)
    })
    .await?;
    journal.record_in(&node, operation);
    journal
        .catch_up(&["check", "authorities", "consensus"])
        .await?;
    Founding::forget(agent).await?;
    journal.finish("record").await?;

    match spec.control_plane.mode {
        Mode::Managed => wait_for_control_plane(&journal, &node).await?,
        Mode::External => {
            journal.wait_for(ComponentName::Khavip, &node).await?;
            external::wait_for_vip(&journal, &node, &spec).await?;
        }
    }
    journal.done(&what_next(&node, &spec)).await
}

async fn wait_for_control_plane(journal: &Journal<'_>, node: &Node) -> Result<(), Refused> {
    journal
        .wait_until("certificates", node, |node| {
            super::component_ready(node, "pki")
        })
        .await?;
    for component in [
        ComponentName::Etcd,
        ComponentName::KubeApiserver,
        ComponentName::KubeControllerManager,
        ComponentName::KubeScheduler,
        ComponentName::Khavip,
    ] {
        journal.wait_for(component, node).await?;
    }
    journal
        .wait_until("vip", node, |node| {
            let view = node.host_view.borrow();
            let vip = view.report.as_ref().and_then(|r| r.vip.as_ref());
            match vip {
                Some(vip)
                    if vip.holder.is_some() && vip.backends.iter().any(|(_, healthy)| *healthy) =>
                {
                    Ok(())
                }
                Some(vip) if vip.holder.is_some() => {
                    Err("no apiserver behind it is healthy yet".into())
                }
                Some(_) => Err("no host holds it yet".into()),
                None => Err("khavip does not answer yet".into()),
            }
        })
        .await
}

fn what_next(node: &Node, spec: &ValidSpec) -> String {
    let vips: Vec<String> = spec
        .vip
        .addresses
        .iter()
        .map(|vip| std::net::SocketAddr::new(vip.address(), spec.balancer.port).to_string())
        .collect();
    let clients = match spec.control_plane.mode {
        Mode::Managed => "`khactl kubeconfig > ~/.kube/config`",
        Mode::External => "let the clients call it there",
    };
    format!(
        "the API answers at https://{}. Next: {clients}; on a member `khactl token create`, and on each further host \
         `khactl join {} --token TOKEN`. One host alone bears no fault: three bear one",
        vips.join(" and https://"),
        std::net::SocketAddr::new(node.member.address, khactl_model::AGENT_PORT),
    )
}

/// This host as a member of the agents' group.
fn me(node: &Node) -> Peer {
    Peer {
        id: node.member.host_id,
        address: std::net::SocketAddr::new(node.member.address, khactl_model::AGENT_PORT)
            .to_string(),
    }
}

fn parse(text: &str, file: &str) -> Result<ValidSpec, Refused> {
    ClusterSpec::parse(text).map_err(|problems| preflight::spec_refused(&problems, file, DOING))
}

fn may_resume(state: &ClusterState, node: &Node, spec: &ValidSpec) -> Result<(), Refused> {
    let member = |name: &str| {
        Refused::new(
            "KHA2002",
            DOING,
            format!("this host is already a member of cluster {name}"),
            "use `khactl status` to see it",
        )
    };
    let Some(cluster) = &state.cluster else {
        // A host that was admitted and has not got the log yet is no founder.
        return if node.member.is_founder() {
            Ok(())
        } else {
            Err(member(&node.member.cluster_name))
        };
    };
    let ours = state.operation_of(OperationKind::Init, &node.member.host_name);
    match ours {
        Some((_, operation)) if operation.state != OperationState::Running => {
            return Err(member(&cluster.name));
        }
        // A joined host has no init of its own; the founder's is begun right after the state.
        None if node.member.host_id != 1 || state.hosts.len() > 1 => {
            return Err(member(&cluster.name));
        }
        _ => {}
    }
    let same = state
        .spec_yaml()
        .and_then(|yaml| ClusterSpec::parse(yaml).ok())
        .is_some_and(|known| *known == **spec);
    if same {
        Ok(())
    } else {
        Err(Refused::new(
            "KHA2061",
            DOING,
            format!(
                "an init of cluster {} with another spec was begun here and is not complete",
                cluster.name
            ),
            "run it again with the spec it was begun with; change the cluster afterwards",
        ))
    }
}

/// From nothing to a state in the log.
async fn found(
    agent: &Arc<Agent>,
    actor: &str,
    spec: &ValidSpec,
    running: Option<Arc<Node>>,
    journal: &Journal<'_>,
) -> Result<Arc<Node>, Refused> {
    let host_name = agent.config.host_name.clone();
    let address = preflight::own_address(agent, DOING)?;

    journal.begin("authorities").await?;
    let founding = Founding::prepare(agent, spec, &host_name, address).await?;
    journal.finish("authorities").await?;

    journal.begin("consensus").await?;
    let node = if let Some(node) = running {
        node
    } else {
        let member = Member {
            cluster_id: founding.cluster_id.clone(),
            cluster_name: spec.name.clone(),
            host_id: 1,
            host_name: host_name.clone(),
            address,
            raft: RaftTimes::of(spec),
            contacts: Vec::new(),
        };
        agent.keeping.keep_member(&member).await?;
        agent.start_member(member).await?
    };
    node.raft
        .initialize(&me(&node))
        .await
        .map_err(|error| raft_refused("start consensus", &error))?;
    journal.finish("consensus").await?;

    journal.begin("record").await?;
    if node.state().cluster.is_none() {
        node.propose(
            actor,
            Command::CreateCluster(CreateCluster {
                id: founding.cluster_id,
                name: spec.name.clone(),
                spec_yaml: spec.to_yaml(),
                host_name,
                address,
                key_pin: founding.key_pin,
                authorities: founding.authorities,
                secrets: founding.secrets,
            }),
        )
        .await
        .map_err(|r| r.while_doing(DOING))?;
    }
    Ok(node)
}
