//! What khavip is told: who takes part in the lease, where the address is put, and what stands
//! behind the balancer. The lease's key is added by the executor, which can open it.

use khactl_model::facts::FencedComponent;
use khactl_model::leader_lease::ELECTING;
use khactl_model::spec::Mode;
use khactl_model::state::{EtcdStage, Role};
use std::net::SocketAddr;

use crate::cx::Cx;
use crate::effect::{Backend, Health, LeaseMember, Limits, VipFeed};
use crate::placement::preference;

/// Told where a file with authorities was asked for and none could ever be read: no backend passes its check
/// then, and this host does not take the VIP.
const NO_AUTHORITIES: &str = "# the file could not be read\n";

/// The whole desired state of this host's khavip.
pub fn vip_feed(cx: &Cx<'_>) -> VipFeed {
    let spec = cx.spec;
    VipFeed {
        cluster_id: cx
            .state
            .cluster
            .as_ref()
            .map_or_else(String::new, |cluster| cluster.id.clone()),
        host_id: cx.host.id,
        address: cx.host.address,
        epoch: cx.state.lease.epoch,
        confirmed: cx.facts.confirmed,
        members: members(cx),
        lease_ms: spec.vip.lease_ms(),
        vips: spec.vip.addresses.iter().map(ToString::to_string).collect(),
        interface: spec.vip.interface.to_string(),
        port: spec.balancer.port,
        method: spec.balancer.method.name().to_owned(),
        backends: backends(cx),
        health: health(cx),
        proxy_protocol: spec.balancer.proxy_protocol,
        limits: Limits {
            connections: spec.balancer.limits.connections,
            half_open: spec.balancer.limits.half_open,
            half_open_ms: spec.balancer.limits.half_open_ms,
        },
        fenced: fenced(cx),
    }
}

/// Of those that elect one acts in the cluster, and goes on acting for a while when it reaches nobody.
fn fenced(cx: &Cx<'_>) -> Vec<FencedComponent> {
    ELECTING
        .into_iter()
        .filter_map(|name| Some((name, cx.process(name)?)))
        .filter(|(_, process)| process.running && process.start_ticks > 0)
        .map(|(name, process)| FencedComponent {
            name,
            pid: process.pid,
            start_ticks: process.start_ticks,
            identity: None,
        })
        .collect()
}

fn members(cx: &Cx<'_>) -> Vec<LeaseMember> {
    let mut members: Vec<LeaseMember> = cx
        .state
        .lease
        .members
        .iter()
        .filter_map(|id| cx.state.host_by_id(*id))
        .map(|host| LeaseMember {
            host_id: host.id,
            host: host.name.clone(),
            address: host.agent_address(),
            preference: preference(cx.spec, host),
            proposer: host.role != Role::Witness,
        })
        .collect();
    members.sort_by_key(|member| member.host_id);
    members
}

fn backends(cx: &Cx<'_>) -> Vec<Backend> {
    let control_plane = &cx.spec.control_plane;
    let listed = control_plane
        .external
        .as_ref()
        .map_or(&[][..], |external| &external.backends);
    if !listed.is_empty() {
        return listed
            .iter()
            .map(|address| {
                let mut hosts = cx.state.hosts.values();
                let host = hosts.find(|host| host.address == address.ip());
                Backend {
                    host: address.to_string(),
                    address: *address,
                    weight: host.map_or(1, |host| weight(cx, &host.name)),
                    draining: false,
                }
            })
            .collect();
    }
    let external = control_plane.mode == Mode::External;
    cx.state
        .hosts
        .values()
        .filter(|host| host.role == Role::ControlPlane)
        .filter(|host| external || host.etcd.stage == EtcdStage::Voter)
        .map(|host| Backend {
            host: host.name.clone(),
            address: SocketAddr::new(host.address, control_plane.api_server.port),
            weight: weight(cx, &host.name),
            // Who leaves, or is restarted with other arguments, is drained first; and who fails a probe that may ask for
            // more than the balancers' checks do. Where that is everybody, the balancer uses whoever passes its checks.
            draining: host.removal.is_some()
                || cx.state.arguments.in_turn() == Some(host.id)
                || cx.facts.unready.contains(&host.id),
        })
        .collect()
}

fn weight(cx: &Cx<'_>, host: &str) -> u8 {
    cx.spec.balancer.weights.get(host).copied().unwrap_or(1)
}

fn health(cx: &Cx<'_>) -> Health {
    let health = &cx.spec.balancer.health;
    let ca_pem = if !health.ca_file.is_empty() {
        cx.facts
            .health_ca
            .as_ref()
            .map(|ca| ca.pem.clone())
            .filter(|pem| !pem.is_empty())
            .unwrap_or_else(|| NO_AUTHORITIES.to_owned())
    } else if cx.managed() {
        cx.state
            .authorities
            .get("kubernetes")
            .map_or_else(String::new, |authority| authority.certificate_pem.clone())
    } else {
        // Another's authority is not in our state; empty, it means that nothing is judged.
        String::new()
    };
    Health {
        scheme: health.scheme.name().to_owned(),
        path: health.path.clone(),
        ca_pem,
        period_ms: health.period_ms,
        timeout_ms: health.timeout_ms,
        rise: u32::from(health.rise),
        fall: u32::from(health.fall),
    }
}
