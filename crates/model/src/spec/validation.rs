//! Fields against each other: what each can be alone has been read, what they cannot be together is found here.
//! Never looks at the host: that is `host_check`.

use std::net::IpAddr;

use super::cluster::{API_PORT, ClusterSpec, HealthScheme, Mode};
use super::fields::Reader;
use super::problem::Code;
use super::{AddressPrefix, Interface};

/// Ports that the agent, etcd and the components of a host have for themselves.
const RESERVED_PORTS: [(u16, &str); 8] = [
    (2379, "etcd's clients"),
    (2380, "etcd's peers"),
    (2381, "etcd's health"),
    (9440, "the agent's metrics"),
    (9443, "the agents"),
    (10250, "the kubelet"),
    (10257, "kube-controller-manager"),
    (10259, "kube-scheduler"),
];

pub(crate) fn validate(spec: &ClusterSpec, r: &mut Reader) {
    vip(spec, r);
    lease(spec, r);
    ports(spec, r);
    health(spec, r);
    clients(spec, r);
    raft(spec, r);
    if spec.control_plane.mode == Mode::Managed {
        networks(spec, r);
    }
    backends(spec, r);
}

/// Notes a problem unless one of the paths it is about has one already.
fn problem(r: &mut Reader, paths: [&str; 2], code: Code, message: String, cure: String) {
    if paths.iter().all(|path| !r.is_broken(path)) {
        r.problem(paths[0], code, message, cure);
    }
}

fn vip(spec: &ClusterSpec, r: &mut Reader) {
    const LIST: &str = "spec.vip.addresses";
    if spec.vip.addresses.is_empty() && !r.truncated {
        let cure = "Write the floating address, for example [10.77.0.100/24].".to_owned();
        problem(
            r,
            [LIST; 2],
            Code::Missing,
            "there is no address in it".to_owned(),
            cure,
        );
    }
    for (index, vip) in spec.vip.addresses.iter().enumerate() {
        let path = r.positions.item(LIST, index);
        if let Some((message, cure)) = unusable(*vip, &spec.vip.interface) {
            problem(r, [&path, &path], Code::UnusableVip, message, cure);
        }
        let earlier = spec.vip.addresses[..index]
            .iter()
            .find(|other| other.address().is_ipv4() == vip.address().is_ipv4());
        if let Some(earlier) = earlier {
            let family = if vip.address().is_ipv4() {
                "IPv4"
            } else {
                "IPv6"
            };
            problem(
                r,
                [&path, &path],
                Code::TwoVipsPerFamily,
                format!("{vip} is a second {family} address beside {earlier}"),
                "Keep one address of each family.".to_owned(),
            );
        }
    }
    for (index, host) in spec.vip.preference.iter().enumerate() {
        if spec.vip.preference[..index].contains(host) {
            let path = r.positions.item("spec.vip.preference", index);
            let message = format!("{host} is in the list twice");
            problem(
                r,
                [&path, &path],
                Code::Duplicate,
                message,
                "Keep its first place.".to_owned(),
            );
        }
    }
}

/// Why an address cannot float, if it cannot.
fn unusable(vip: AddressPrefix, interface: &Interface) -> Option<(String, String)> {
    let address = vip.address();
    let other = "Take a free address of the hosts' network.".to_owned();
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
    };
    if address.is_loopback() {
        return Some((
            format!("{vip} is a loopback address, which no other host can reach"),
            other,
        ));
    }
    if address.is_multicast() {
        return Some((format!("{vip} is a multicast address"), other));
    }
    if address.is_unspecified() || link_local {
        return Some((
            format!("{vip} is not an address that clients can be routed to"),
            other,
        ));
    }
    // Shorter prefixes are slips of the pen: no link holds a sixteen-millionth of its hosts in one network.
    let shortest = if address.is_ipv4() { 8 } else { 16 };
    if vip.prefix() < shortest {
        let cure = format!("Write the prefix of the hosts' network, {shortest} at the least.");
        return Some((format!("{vip} has a prefix of {} bits", vip.prefix()), cure));
    }
    if vip.host_bits() == 0 {
        let cure =
            "Write the prefix of the hosts' network, or name the interface in spec.vip.interface."
                .to_owned();
        return (*interface == Interface::Auto).then(|| {
            (
                format!("{vip} names no network to find the interface by"),
                cure,
            )
        });
    }
    // RFC 3021: in a network of two addresses neither is the network's own.
    if vip.host_bits() > 1 && address == vip.network() {
        return Some((format!("{vip} is the address of the network itself"), other));
    }
    if vip.host_bits() > 1 && address.is_ipv4() && address == vip.last() {
        return Some((
            format!("{vip} is the broadcast address of its network"),
            other,
        ));
    }
    None
}

fn lease(spec: &ClusterSpec, r: &mut Reader) {
    if let (Some(profile), Some(lease_ms)) = (spec.vip.profile, spec.vip.lease_ms) {
        let time = profile.lease_ms();
        problem(
            r,
            ["spec.vip.leaseMs", "spec.vip.profile"],
            Code::Exclusive,
            format!("leaseMs is {lease_ms}, and spec.vip.profile says {time}"),
            "Keep one of the two.".to_owned(),
        );
    }
}

fn ports(spec: &ClusterSpec, r: &mut Reader) {
    let managed = spec.control_plane.mode == Mode::Managed;
    for (path, port, asked) in [
        ("spec.balancer.port", spec.balancer.port, true),
        (
            "spec.controlPlane.apiServer.port",
            spec.control_plane.api_server.port,
            managed,
        ),
    ] {
        let owner = RESERVED_PORTS
            .iter()
            .find(|(reserved, _)| *reserved == port);
        if let (true, Some((_, owner))) = (asked, owner) {
            problem(
                r,
                [path; 2],
                Code::PortConflict,
                format!("port {port} belongs to {owner}"),
                "Take another port, for example 6443.".to_owned(),
            );
        }
    }
}

fn health(spec: &ClusterSpec, r: &mut Reader) {
    /// A backend that stays up longer than this after it fell is no longer taken out by its probes in time.
    const DETECTION_MS_MAX: u64 = 60_000;
    const CA_FILE: &str = "spec.balancer.health.caFile";
    let health = &spec.balancer.health;
    if health.scheme == HealthScheme::Http && !health.ca_file.is_empty() {
        problem(
            r,
            [CA_FILE, "spec.balancer.health.scheme"],
            Code::Exclusive,
            format!(
                "{} is given, and scheme is http, which shows no certificate",
                health.ca_file
            ),
            "Remove it, or write scheme: https.".to_owned(),
        );
    }
    let paths = ["spec.balancer.health.fall", "spec.balancer.health.periodMs"];
    let detection_ms = u64::from(health.fall) * u64::from(health.period_ms.max(health.timeout_ms));
    if detection_ms > DETECTION_MS_MAX {
        problem(
            r,
            paths,
            Code::OutOfRange,
            format!(
                "{} failed probes, one every {} ms, find a dead backend only after {detection_ms} ms",
                health.fall,
                health.period_ms.max(health.timeout_ms)
            ),
            format!(
                "Lower fall, periodMs or timeoutMs until their product is at most {DETECTION_MS_MAX} ms."
            ),
        );
    }
}

/// What the balancer tells of its clients, and what they may take.
fn clients(spec: &ClusterSpec, r: &mut Reader) {
    let balancer = &spec.balancer;
    if balancer.proxy_protocol && spec.control_plane.mode == Mode::Managed {
        problem(
            r,
            ["spec.balancer.proxyProtocol", "spec.controlPlane.mode"],
            Code::Exclusive,
            "it is true, and mode is managed: kube-apiserver does not understand the PROXY protocol"
                .to_owned(),
            "Remove it.".to_owned(),
        );
    }
    let limits = &balancer.limits;
    if limits.half_open > limits.connections {
        problem(
            r,
            [
                "spec.balancer.limits.halfOpen",
                "spec.balancer.limits.connections",
            ],
            Code::OutOfRange,
            format!(
                "{} clients that say nothing are more than the {} connections that there may be",
                limits.half_open, limits.connections
            ),
            "Lower it, or raise connections.".to_owned(),
        );
    }
}

fn raft(spec: &ClusterSpec, r: &mut Reader) {
    const RANGE: &str = "spec.raft.electionTimeoutMs";
    let heartbeat = spec.raft.heartbeat_ms;
    let [min, max] = spec.raft.election_timeout_ms;
    // Two heartbeats may be lost before a follower may doubt its leader.
    if u64::from(heartbeat) * 3 > u64::from(min) {
        problem(
            r,
            ["spec.raft.heartbeatMs", RANGE],
            Code::TimingOrder,
            format!(
                "heartbeatMs is {heartbeat}, more than a third of the shortest election timeout, {min}"
            ),
            format!("Write at most {}, or lengthen {RANGE}.", min / 3),
        );
    }
    if min >= max {
        problem(
            r,
            [RANGE; 2],
            Code::TimingOrder,
            format!("the shortest time, {min}, is not below the longest, {max}"),
            "Write the shorter one first, and leave room between them, for example [500, 1000]."
                .to_owned(),
        );
    }
}

/// In external mode the cluster's networks are somebody else's, and these fields are refused.
fn networks(spec: &ClusterSpec, r: &mut Reader) {
    const PODS: &str = "spec.network.podCidr";
    const SERVICES: &str = "spec.network.serviceCidr";
    let (pods, services) = (spec.network.pod_cidr, spec.network.service_cidr);
    if pods.address().is_ipv4() != services.address().is_ipv4() {
        problem(
            r,
            [SERVICES, PODS],
            Code::NetworkConflict,
            format!("{services} and the pods' network {pods} are of different families"),
            "Write both in IPv4 or both in IPv6.".to_owned(),
        );
    } else if pods.overlaps(services) {
        problem(
            r,
            [SERVICES, PODS],
            Code::NetworkConflict,
            format!("{services} overlaps the pods' network {pods}"),
            "Move one of the two.".to_owned(),
        );
    }
    for (index, vip) in spec.vip.addresses.iter().enumerate() {
        let vip_path = r.positions.item("spec.vip.addresses", index);
        for (path, whose, network) in [(PODS, "pods'", pods), (SERVICES, "services'", services)] {
            if vip.overlaps(network) {
                problem(
                    r,
                    [&vip_path, path],
                    Code::VipInsideClusterNetwork,
                    format!("the network of {vip} overlaps the {whose} network {network} ({path})"),
                    "The hosts' network must share no address with the cluster's own networks: move one of the two."
                        .to_owned(),
                );
            }
        }
    }
    network_sizes(pods, services, r);
}

/// The limits of kube-apiserver (20 bits of service addresses) and of kube-controller-manager (a node gets a
/// /24 or a /64 of the pods' network, and at most 16 bits count the nodes).
fn network_sizes(pods: AddressPrefix, services: AddressPrefix, r: &mut Reader) {
    let width = if services.address().is_ipv4() {
        32
    } else {
        128
    };
    if !(4..=20).contains(&services.host_bits()) {
        problem(
            r,
            ["spec.network.serviceCidr"; 2],
            Code::OutOfRange,
            format!("{services} has a prefix of {} bits", services.prefix()),
            format!(
                "kube-apiserver takes prefixes of {} to {}.",
                width - 20,
                width - 4
            ),
        );
    }
    let node = if pods.address().is_ipv4() { 24 } else { 64 };
    if !(node - 16..=node).contains(&pods.prefix()) {
        problem(
            r,
            ["spec.network.podCidr"; 2],
            Code::OutOfRange,
            format!(
                "{pods} has a prefix of {} bits, and each node gets a /{node} of it",
                pods.prefix()
            ),
            format!("Write a prefix of {} to {node}.", node - 16),
        );
    }
}

fn backends(spec: &ClusterSpec, r: &mut Reader) {
    const LIST: &str = "spec.controlPlane.external.backends";
    let Some(external) = &spec.control_plane.external else {
        return;
    };
    for (index, backend) in external.backends.iter().enumerate() {
        let path = r.positions.item(LIST, index);
        if external.backends[..index].contains(backend) {
            let message = format!("{backend} is in the list twice");
            problem(
                r,
                [&path, &path],
                Code::Duplicate,
                message,
                "Keep it once.".to_owned(),
            );
        }
        if let Some(vip) = spec
            .vip
            .addresses
            .iter()
            .find(|vip| vip.address() == backend.ip())
        {
            problem(
                r,
                [&path, &path],
                Code::BackendIsBalancer,
                format!("{backend} is on the VIP {vip} itself: the balancer would call itself"),
                "Write the hosts' own addresses.".to_owned(),
            );
        }
        if backend.ip().is_loopback() && backend.port() == spec.balancer.port {
            problem(
                r,
                [&path, "spec.balancer.port"],
                Code::BackendIsBalancer,
                format!("the balancer itself listens on {backend}: it would call itself"),
                "Write the hosts' own addresses.".to_owned(),
            );
        }
    }
    let port = spec.control_plane.api_server.port;
    if !external.backends.is_empty() && port != API_PORT {
        problem(
            r,
            ["spec.controlPlane.apiServer.port", LIST],
            Code::Exclusive,
            format!("port is {port}, and {LIST} says the port of each API server"),
            "Keep one of the two.".to_owned(),
        );
    }
}
