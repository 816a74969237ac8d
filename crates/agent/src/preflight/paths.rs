//! The paths between hosts: of a member, every pair of its cluster, each tried by the host that it begins at; before
//! there is a cluster, from here to the hosts that are named.

use futures::future::join_all;
use khactl_host::preflight::{Tried, path};
use khactl_model::AGENT_PORT;
use khactl_model::preflight::PathFacts;
use khactl_model::spec::{API_PORT, ClusterSpec, Mode, ValidSpec};
use khactl_model::state::{ClusterState, Host, Role};
use khactl_plan::majority_round_trip;
use khactl_plan::preflight::paths::{judge, unasked};
use khactl_proto::v1::{Finding, TryPathsRequest};
use std::net::IpAddr;
use std::time::Duration;

use super::judged;
use crate::agent::Agent;
use crate::node::Node;
use crate::refused::Refused;
use crate::time;

/// etcd's, for its members and their clients.
const ETCD_PORTS: [u16; 2] = [2379, 2380];
/// Another host tries all of its paths at the same time, each within four seconds.
const ANSWER: Duration = Duration::from_secs(8);
/// No cluster has more hosts.
const PATHS_MAX: usize = 16;

/// What was found of the paths.
pub(super) struct Paths {
    pub(super) findings: Vec<Finding>,
    /// To a majority of the hosts that were named, with this one; `None`: too few answered, or this is a member, whose
    /// khavip knows it better.
    pub(super) round_trip_us: Option<u32>,
}

/// Tries every path that can be tried from here.
pub(super) async fn tried(agent: &Agent, spec: Option<&ValidSpec>, peers: &[IpAddr]) -> Paths {
    let (found, round_trip_us) = if let Some(node) = agent.node() {
        (of_cluster(&node).await, None)
    } else {
        let paths = to_peers(agent, spec, peers).await;
        (judge(&paths, false), round_trip_us(&paths))
    };
    Paths {
        findings: found.into_iter().map(judged).collect(),
        round_trip_us,
    }
}

/// `None` also where there is nobody to answer: that is no measurement.
fn round_trip_us(paths: &[PathFacts]) -> Option<u32> {
    let answered = paths.iter().filter_map(|path| path.round_trip_us);
    majority_round_trip(paths.len(), answered).filter(|us| *us > 0)
}

/// From this member to all the others.
pub async fn from_here(node: &Node) -> Vec<PathFacts> {
    let state = node.state();
    let here = node.member.host_id;
    let tried = others(&state, here).into_iter().map(|host| {
        let tried = Tried {
            from: node.member.host_name.clone(),
            to: host.name.clone(),
            address: host.address,
            ports: ports(&state, host),
            // Its khavip listens, and has no word for a stranger.
            datagrams: None,
        };
        let lease_silent_ms = lease_silent_ms(node, host.id);
        async move {
            PathFacts {
                lease_silent_ms,
                ..path(tried).await
            }
        }
    });
    join_all(tried).await
}

async fn of_cluster(node: &Node) -> Vec<khactl_plan::preflight::Finding> {
    let state = node.state();
    let asked = others(&state, node.member.host_id)
        .into_iter()
        .map(|host| async move { (host.name.as_str(), from_there(node, host).await) });
    let (mut paths, told) = tokio::join!(from_here(node), join_all(asked));
    let mut not_asked = Vec::new();
    for (name, told) in told {
        match told {
            Ok(more) => paths.extend(more),
            Err(why) => not_asked.push(unasked(name, &why)),
        }
    }
    let mut found = judge(&paths, true);
    found.extend(not_asked);
    found
}

/// What another member finds of its own paths.
async fn from_there(node: &Node, host: &Host) -> Result<Vec<PathFacts>, String> {
    let asked = time::within(ANSWER, TryPathsRequest {});
    let answer = node.peer(host.agent_address()).try_paths(asked).await;
    let json = answer
        .map_err(|status| Refused::of_call("ask a host for its paths", &status).wrong)?
        .into_inner()
        .json;
    let mut paths: Vec<PathFacts> =
        serde_json::from_str(&json).map_err(|error| error.to_string())?;
    paths.truncate(PATHS_MAX);
    for path in &mut paths {
        // It speaks for itself alone.
        path.from.clone_from(&host.name);
    }
    Ok(paths)
}

async fn to_peers(agent: &Agent, spec: Option<&ValidSpec>, peers: &[IpAddr]) -> Vec<PathFacts> {
    let own = agent.config.advertise_address;
    let mut ports = vec![AGENT_PORT];
    if let Some(spec) = spec
        && spec.control_plane.mode == Mode::Managed
    {
        ports.push(spec.control_plane.api_server.port);
        ports.extend(ETCD_PORTS);
    }
    let tried = peers
        .iter()
        .filter(|peer| Some(**peer) != own)
        .map(|peer| Tried {
            from: agent.config.host_name.clone(),
            to: peer.to_string(),
            address: *peer,
            ports: ports.clone(),
            datagrams: Some(AGENT_PORT),
        });
    join_all(tried.map(path)).await
}

fn others(state: &ClusterState, here: u64) -> Vec<&Host> {
    let hosts = state.hosts.values();
    hosts.filter(|host| host.id != here).collect()
}

/// What the other hosts call of that one.
fn ports(state: &ClusterState, host: &Host) -> Vec<u16> {
    let mut ports = vec![AGENT_PORT];
    if state.runs_etcd() {
        ports.extend(ETCD_PORTS);
        if host.role == Role::ControlPlane {
            ports.push(api_port(state));
        }
    }
    ports
}

fn api_port(state: &ClusterState) -> u16 {
    let spec = state
        .spec_yaml()
        .and_then(|text| ClusterSpec::parse(text).ok());
    spec.map_or(API_PORT, |spec| spec.control_plane.api_server.port)
}

/// As this host's khavip tells; `None`: it does not, or that host takes no part in the lease.
fn lease_silent_ms(node: &Node, host_id: u64) -> Option<u32> {
    let view = node.vip_view.borrow();
    let peers = &view.fact.as_ref()?.measured.peers;
    let peer = peers.iter().find(|peer| peer.host_id == host_id)?;
    Some(peer.silent_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use khactl_model::command::SealedAuthority;
    use khactl_model::state::{EtcdMember, EtcdStage};

    fn host(role: Role) -> Host {
        Host {
            id: 2,
            name: "cp2".to_owned(),
            address: [10, 77, 0, 12].into(),
            role,
            key_pin: String::new(),
            etcd: EtcdMember {
                stage: EtcdStage::Voter,
                member_id: 7,
                initial_cluster: String::new(),
                started: true,
            },
            admitted_at_ms: 0,
            removal: None,
        }
    }

    #[test]
    fn only_ports_at_which_a_host_serves_the_others_are_tried() {
        let mut state = ClusterState::default();
        assert_eq!(ports(&state, &host(Role::ControlPlane)), [9443]);
        let etcd = SealedAuthority {
            name: "etcd".to_owned(),
            certificate_pem: String::new(),
            sealed_key: Vec::new(),
        };
        state.authorities.insert("etcd".to_owned(), etcd);
        assert_eq!(
            ports(&state, &host(Role::ControlPlane)),
            [9443, 2379, 2380, 6443]
        );
        assert_eq!(ports(&state, &host(Role::Witness)), [9443, 2379, 2380]);
    }
}
