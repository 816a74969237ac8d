//! `khactl join`: this host becomes one more of a cluster.
//!
//! ```text
//! check ─ contact ─ admit ─ consensus ─ certificates ─ etcd ─ kube-apiserver ─ … ─ lease
//!                   └ the same key and token again: a resumption, not a second use
//! ```
//!
//! Order of membership: Raft learner and voter, etcd learner and voter, lease member. The
//! leader does all of that; this host waits for it and tells.

use khactl_model::command::OperationKind;
use khactl_model::component::ComponentName;
use khactl_model::spec::ClusterSpec;
use khactl_model::state::{ClusterState, EtcdStage, OperationState, Role};
use khactl_pki::{JoinToken, LeafKey};
use khactl_proto::v1::{self, enrol_client::EnrolClient};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{Journal, applied, caught_up, count_warning, operation};
use crate::agent::{Agent, ProgressSender};
use crate::bundle;
use crate::departure;
use crate::member::{Contact, Member, RaftTimes};
use crate::net::{DialError, ProbeAnswer, TlsFiles, connect_pinned};
use crate::node::Node;
use crate::preflight;
use crate::refused::{Refused, chain};
use crate::time;

const DOING: &str = "join a cluster";
/// The log reaches a new learner within an election and a few messages.
const LOG_TIMEOUT: Duration = Duration::from_mins(1);

/// Runs or resumes it.
///
/// # Errors
/// The refusal that ended it; nothing is half done, and it may be run again.
pub async fn run(
    agent: &Arc<Agent>,
    request: &v1::JoinClusterRequest,
    sender: &ProgressSender,
) -> Result<(), Refused> {
    let actor = format!("root@{}", agent.config.host_name);
    let mut journal = Journal::new(sender, &actor);
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
    let token = JoinToken::parse(&request.token).map_err(|error| {
        Refused::new(
            "KHA2065",
            DOING,
            chain(&error),
            "copy the whole token as `khactl token create` printed it",
        )
    })?;
    let node = if let Some(node) = agent.node() {
        may_resume(&node)?;
        // Refused above without a quorum where what is known is enough; what is not known yet is waited for.
        caught_up(&node, DOING, LOG_TIMEOUT).await?;
        may_resume(&node)?;
        journal.finish("check").await?;
        node
    } else {
        preflight::refuse_blocking(agent, None, "", DOING).await?;
        journal.finish("check").await?;
        enter(agent, request, &token, &journal).await?
    };

    journal.begin("consensus").await?;
    let id = node.member.host_id;
    applied(&node, DOING, LOG_TIMEOUT, |state| {
        state.host_by_id(id).is_some()
    })
    .await?;
    let operation = operation(&node, &actor, OperationKind::Join).await?;
    applied(&node, DOING, LOG_TIMEOUT, |state| {
        state.operations.contains_key(&operation)
    })
    .await?;
    journal.record_in(&node, operation);
    journal.catch_up(&["check", "contact", "admit"]).await?;
    journal
        .finish_when("consensus", &node, |node| {
            if node.raft.status().borrow().is_voter(node.member.host_id) {
                Ok(())
            } else {
                Err("the leader has not made this host a voter yet".into())
            }
        })
        .await?;
    if let Some(folder) = bundle::missing(&node).await {
        journal
            .wait_until("bundle", &node, |node| bundle::came(node, &folder))
            .await?;
    }
    // Founded without etcd, the cluster has a control plane that something else runs.
    if node.state().runs_etcd() {
        wait_for_control_plane(&journal, &node).await?;
    }
    journal.wait_for(ComponentName::Khavip, &node).await?;
    journal.wait_until("lease", &node, in_lease).await?;
    let hosts = node.state().hosts.len();
    if let Some(warning) = count_warning(hosts) {
        journal.warn("lease", &warning).await;
    }
    journal
        .done(&format!(
            "{} is one of {hosts} hosts of cluster {}. `khactl status` shows them",
            node.member.host_name, node.member.cluster_name
        ))
        .await
}

async fn wait_for_control_plane(journal: &Journal<'_>, node: &Node) -> Result<(), Refused> {
    journal
        .wait_until("certificates", node, |node| {
            super::component_ready(node, "pki")
        })
        .await?;
    journal
        .wait_until("etcd", node, |node| {
            let stage = node.host().map(|h| h.etcd.stage);
            match stage {
                Some(EtcdStage::Voter) => super::component_ready(node, "etcd"),
                Some(EtcdStage::Learner) => {
                    Err("its member copies the data and has no vote yet".into())
                }
                _ => Err("the leader has not added its member yet".into()),
            }
        })
        .await?;
    if node.host().is_some_and(|h| h.role == Role::ControlPlane) {
        for component in [
            ComponentName::KubeApiserver,
            ComponentName::KubeControllerManager,
            ComponentName::KubeScheduler,
        ] {
            journal.wait_for(component, node).await?;
        }
    }
    Ok(())
}

/// Whether this host takes part in the VIP's lease: recorded, told to khavip, and past its silence there.
fn in_lease(node: &Node) -> Result<(), String> {
    let (member, epoch) = node.raft.with_machine(|machine| {
        let lease = &machine.state().lease;
        (lease.members.contains(&node.member.host_id), lease.epoch)
    });
    if !member {
        return Err("the leader adds one host at a time to the VIP's lease, 3 s apart".into());
    }
    let view = node.host_view.borrow();
    match view.report.as_ref().and_then(|report| report.vip.as_ref()) {
        Some(vip) if vip.ready && vip.epoch >= epoch => Ok(()),
        Some(vip) if vip.ready => Err("khavip was not told the newest members yet".into()),
        Some(_) => Err("khavip keeps the silence that a start asks of it".into()),
        None => Err("khavip does not answer yet".into()),
    }
}

fn may_resume(node: &Node) -> Result<(), Refused> {
    let state: ClusterState = node.state();
    let ours = state.operation_of(OperationKind::Join, &node.member.host_name);
    let host = state.host_by_id(node.member.host_id);
    let under_way = match (host, ours) {
        (Some(host), Some((_, operation))) if operation.started_at_ms >= host.admitted_at_ms => {
            operation.state == OperationState::Running
        }
        // The log has not reached this host yet, or what it has is the join of a host that had the name before; a
        // founder has its own from the beginning.
        _ => node.member.host_id != 1,
    };
    if under_way {
        return Ok(());
    }
    Err(Refused::new(
        "KHA2002",
        DOING,
        format!(
            "this host is already a member of cluster {}",
            node.member.cluster_name
        ),
        "use `khactl status` to see it",
    ))
}

/// From nothing to a started member.
async fn enter(
    agent: &Arc<Agent>,
    request: &v1::JoinClusterRequest,
    token: &JoinToken,
    journal: &Journal<'_>,
) -> Result<Arc<Node>, Refused> {
    let address = preflight::own_address(agent, DOING)?;
    journal.begin("contact").await?;
    let channel = connect_pinned(&request.endpoint, *token.pin().bytes())
        .await
        .map_err(|error| {
            Refused::new(
                dial_code(&error),
                DOING,
                chain(&error),
                "check the address, that khad runs there, and that the token is this cluster's",
            )
        })?;
    let mut client = EnrolClient::new(channel);
    journal.finish("contact").await?;

    journal.begin("admit").await?;
    agent.keeping.prepare().await?;
    let key = if let Some(pem) = agent.keeping.key().await? {
        LeafKey::from_pem("agent", &pem).map_err(|e| keys(&e))?
    } else {
        let key = LeafKey::generate("agent").map_err(|e| keys(&e))?;
        agent.keeping.keep_key(&key.pem()).await?;
        key
    };
    let ask = v1::AdmitRequest {
        token_id: token.id().to_owned(),
        token_secret: token.secret().to_vec().into(),
        csr_pem: key.request(&agent.config.host_name).map_err(|e| keys(&e))?,
        host_name: agent.config.host_name.clone(),
        address: address.to_string(),
        clock_ms: 0,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        rehearse: false,
    };
    // The leader asks back at this host's address before it admits it.
    let here = SocketAddr::new(address, khactl_model::AGENT_PORT);
    let answer = ProbeAnswer::start(here, &key.pem())
        .await
        .map_err(|error| {
            Refused::new(
                "KHA2066",
                DOING,
                chain(&error),
                "free the port, then run the command again",
            )
        })?;
    let admitted = {
        // First everything is checked on both sides, this host against the spec too; only then
        // is the token used up.
        let rehearsed = admit(&mut client, &ask, true).await?;
        let spec = ClusterSpec::parse(&rehearsed.spec_yaml)
            .map_err(|problems| preflight::spec_refused(&problems, "the cluster's spec", DOING))?;
        preflight::refuse_blocking_beside_agent_port(agent, &spec, &rehearsed.bundle_arch, DOING)
            .await?;
        admit(&mut client, &ask, false).await?
    };
    answer.close().await;
    let spec = ClusterSpec::parse(&admitted.spec_yaml)
        .map_err(|problems| preflight::spec_refused(&problems, "the cluster's spec", DOING))?;
    let sealing =
        khactl_pki::SealingKey::from_slice(&admitted.sealing_key).map_err(|e| keys(&e))?;
    let tls = TlsFiles {
        cert_pem: format!("{}{}", admitted.certificate_pem, admitted.authority_pem),
        ca_pem: admitted.authority_pem,
        key_pem: key.pem(),
    };
    agent.keeping.keep_identity(&tls, &sealing).await?;
    journal.finish("admit").await?;

    let member = Member {
        cluster_id: admitted.cluster_id,
        cluster_name: admitted.cluster_name,
        host_id: admitted.host_id,
        host_name: agent.config.host_name.clone(),
        address,
        raft: RaftTimes::of(&spec),
        contacts: admitted
            .members
            .into_iter()
            .filter_map(|m| {
                Some(Contact {
                    id: m.id,
                    name: m.name,
                    address: m.address.parse().ok()?,
                })
            })
            .collect(),
    };
    agent.keeping.keep_member(&member).await?;
    agent.start_member(member).await
}

async fn admit(
    client: &mut EnrolClient<tonic::transport::Channel>,
    ask: &v1::AdmitRequest,
    rehearse: bool,
) -> Result<v1::AdmitResponse, Refused> {
    let ask = v1::AdmitRequest {
        clock_ms: time::wall_ms(),
        rehearse,
        ..ask.clone()
    };
    client
        .admit(time::within(Duration::from_secs(30), ask))
        .await
        .map(tonic::Response::into_inner)
        .map_err(|status| Refused::of_call(DOING, &status))
}

fn dial_code(error: &DialError) -> &'static str {
    match error {
        DialError::Endpoint { .. } | DialError::Resolve { .. } => "KHA2067",
        DialError::WrongPin { .. } => "KHA2068",
        DialError::Refused { .. } | DialError::TimedOut { .. } | DialError::Unreachable { .. } => {
            "KHA2069"
        }
        _ => "KHA2070",
    }
}

fn keys(error: &khactl_pki::PkiError) -> Refused {
    Refused::new(
        "KHA3044",
        DOING,
        chain(error),
        "report this as a bug if it comes again",
    )
}
