//! What khad feeds, bounded and validated: the only way from the wire to anything that acts.

mod balancer;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use khactl_balancer::BalancerConfig;
use khactl_proto::v1;

use crate::address::{Selector, Vip};
use crate::error::VipError;
use crate::fence::{FENCED_MAX, ProcessId};
use crate::lease::{Feed, Member};

/// Most members of the lease; its acceptors are arrays of this size.
const MEMBERS_MAX: usize = 9;
/// Longest name of a host (RFC 1035).
const HOST_BYTES_MAX: usize = 253;
/// Longest name of a component.
const COMPONENT_BYTES_MAX: usize = 63;
/// `IFNAMSIZ` less its zero.
const INTERFACE_BYTES_MAX: usize = 15;
/// From the fast profile's floor to `T_MAX` (docs/lease.md).
const LEASE_MS: std::ops::RangeInclusive<u32> = 40..=2_000;

/// The whole desired state of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// None while the cluster has no members of the lease: then only the balancer runs.
    pub lease: Option<WantedLease>,
    /// The VIPs; at most one per family.
    pub vips: Vec<Vip>,
    /// The balancer with its listeners.
    pub balancer: BalancerConfig,
}

/// The lease's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedLease {
    /// The cluster's id.
    pub cluster: [u8; 16],
    /// This host among the members.
    pub host_id: u64,
    /// Where datagrams arrive.
    pub bind: SocketAddr,
    /// What the lease thread is fed.
    pub feed: Feed,
    /// Names of the members, for logs.
    pub names: BTreeMap<u64, String>,
    /// Which processes end when no majority answers, and what they are called.
    pub fenced: BTreeMap<ProcessId, String>,
}

impl TryFrom<&v1::VipFeedRequest> for Wanted {
    type Error = VipError;

    fn try_from(fed: &v1::VipFeedRequest) -> Result<Self, VipError> {
        let vips = vips(&fed.addresses)?;
        Ok(Self {
            lease: if fed.members.is_empty() {
                None
            } else {
                Some(lease(fed)?)
            },
            balancer: match &fed.balancer {
                Some(fed_balancer) => balancer::config(fed_balancer, &vips, own_address(fed))?,
                None => BalancerConfig::default(),
            },
            vips,
        })
    }
}

fn refused(field: &'static str, reason: impl Into<String>) -> VipError {
    VipError::Feed {
        field,
        reason: reason.into(),
    }
}

fn lease(fed: &v1::VipFeedRequest) -> Result<WantedLease, VipError> {
    let bytes = |field, bytes: &[u8], wanted: usize| {
        refused(
            field,
            format!("it has {} bytes instead of {wanted}", bytes.len()),
        )
    };
    if fed.members.len() > MEMBERS_MAX {
        return Err(refused("members", format!("more than {MEMBERS_MAX}")));
    }
    if !LEASE_MS.contains(&fed.lease_ms) {
        return Err(refused(
            "lease_ms",
            format!("{} is not within {LEASE_MS:?}", fed.lease_ms),
        ));
    }
    let mut members = Vec::with_capacity(fed.members.len());
    let mut names = BTreeMap::new();
    for member in &fed.members {
        if member.id == 0 || names.contains_key(&member.id) {
            return Err(refused(
                "members",
                format!("the id {} is zero or there twice", member.id),
            ));
        }
        names.insert(member.id, host("members", &member.host)?);
        members.push(Member {
            id: member.id,
            address: socket("members", &member.address)?,
            preference: u8::try_from(member.preference)
                .map_err(|_| refused("members", "a preference is above 255"))?,
            proposer: member.proposer,
        });
    }
    let addresses: BTreeSet<SocketAddr> = members.iter().map(|m| m.address).collect();
    if addresses.len() < members.len() {
        return Err(refused("members", "an address is there twice"));
    }
    Ok(WantedLease {
        cluster: fed
            .cluster_id
            .as_ref()
            .try_into()
            .map_err(|_| bytes("cluster_id", &fed.cluster_id, 16))?,
        host_id: match fed.host_id {
            0 => return Err(refused("host_id", "it is zero")),
            id => id,
        },
        bind: socket("bind", &fed.bind)?,
        feed: Feed {
            epoch: fed.epoch,
            confirmed: fed.confirmed,
            key: fed
                .lease_key
                .as_ref()
                .try_into()
                .map_err(|_| bytes("lease_key", &fed.lease_key, 32))?,
            members,
            lease_ms: fed.lease_ms,
        },
        names,
        fenced: fenced(&fed.fenced)?,
    })
}

fn fenced(processes: &[v1::VipFenced]) -> Result<BTreeMap<ProcessId, String>, VipError> {
    let mut fenced = BTreeMap::new();
    for process in processes {
        let name = &process.component;
        if name.is_empty() || name.len() > COMPONENT_BYTES_MAX {
            return Err(refused("fenced", "a component has no name, or a long one"));
        }
        // 1 is whoever started all others.
        if process.pid <= 1 || process.pid == std::process::id() || process.start_ticks == 0 {
            return Err(refused(
                "fenced",
                format!("{name} cannot be process {}", process.pid),
            ));
        }
        let id = ProcessId {
            pid: process.pid,
            start_ticks: process.start_ticks,
        };
        if fenced.insert(id, name.clone()).is_some() {
            return Err(refused(
                "fenced",
                format!("process {} is there twice", process.pid),
            ));
        }
    }
    if fenced.len() > FENCED_MAX {
        return Err(refused("fenced", format!("more than {FENCED_MAX}")));
    }
    Ok(fenced)
}

fn vips(addresses: &[v1::VipAddress]) -> Result<Vec<Vip>, VipError> {
    let mut vips: Vec<Vip> = Vec::new();
    for address in addresses {
        let unreadable = || refused("addresses", format!("{:?} is not IP/PREFIX", address.cidr));
        let (ip, prefix) = address.cidr.split_once('/').ok_or_else(unreadable)?;
        let ip: IpAddr = ip.parse().map_err(|_| unreadable())?;
        let prefix: u8 = prefix.parse().map_err(|_| unreadable())?;
        let prefix_max = if ip.is_ipv4() { 32 } else { 128 };
        if prefix > prefix_max || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() {
            return Err(unreadable());
        }
        if vips.iter().any(|vip| vip.address.is_ipv4() == ip.is_ipv4()) {
            return Err(refused("addresses", "more than one of a family"));
        }
        vips.push(Vip {
            address: ip,
            prefix,
            interface: interface(&address.interface)?,
        });
    }
    Ok(vips)
}

fn interface(name: &str) -> Result<Selector, VipError> {
    if name.is_empty() || name == "auto" {
        return Ok(Selector::Auto);
    }
    // It becomes part of a path below /proc/sys.
    if name.len() > INTERFACE_BYTES_MAX || name.contains(['/', '\0']) || name.starts_with('.') {
        return Err(refused(
            "addresses",
            format!("{name:?} is no interface's name"),
        ));
    }
    Ok(Selector::Named(name.to_owned()))
}

/// This host's own, by which it knows its own apiserver; the lease says more of what is wrong with it.
fn own_address(fed: &v1::VipFeedRequest) -> Option<IpAddr> {
    let bind: SocketAddr = fed.bind.parse().ok()?;
    Some(bind.ip())
}

fn host(field: &'static str, name: &str) -> Result<String, VipError> {
    if name.len() > HOST_BYTES_MAX {
        return Err(refused(field, "a host's name is longer than 253 bytes"));
    }
    Ok(name.to_owned())
}

fn socket(field: &'static str, text: &str) -> Result<SocketAddr, VipError> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| refused(field, format!("{text:?} is not IP:PORT")))?;
    if address.port() == 0 || address.ip().is_unspecified() {
        return Err(refused(field, format!("{text:?} is nobody's address")));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use khactl_balancer::{Limits, Method};

    use super::*;

    fn good() -> v1::VipFeedRequest {
        v1::VipFeedRequest {
            cluster_id: vec![1; 16].into(),
            host_id: 1,
            bind: "10.77.0.11:9443".to_owned(),
            lease_key: vec![2; 32].into(),
            epoch: 3,
            confirmed: true,
            members: vec![v1::VipMember {
                id: 1,
                host: "cp1".to_owned(),
                address: "10.77.0.11:9443".to_owned(),
                preference: 0,
                proposer: true,
            }],
            lease_ms: 250,
            addresses: vec![
                v1::VipAddress {
                    cidr: "10.77.0.100/24".to_owned(),
                    interface: "auto".to_owned(),
                },
                v1::VipAddress {
                    cidr: "fd00:77::100/64".to_owned(),
                    interface: "eth0".to_owned(),
                },
            ],
            balancer: Some(v1::VipBalancer {
                port: 6443,
                method: String::new(),
                health: Some(v1::VipHealth {
                    scheme: "http".to_owned(),
                    path: "/readyz".to_owned(),
                    period_ms: 500,
                    timeout_ms: 500,
                    rise: 2,
                    fall: 2,
                    ..v1::VipHealth::default()
                }),
                backends: vec![
                    v1::VipBackend {
                        host: "cp1".to_owned(),
                        address: "10.77.0.11:6443".to_owned(),
                        weight: 0,
                        draining: true,
                    },
                    v1::VipBackend {
                        host: "cp2".to_owned(),
                        address: "10.77.0.12:6443".to_owned(),
                        weight: 100,
                        draining: false,
                    },
                ],
                proxy_protocol: true,
                limits: Some(v1::VipLimits {
                    connections: 5_000,
                    half_open: 100,
                    half_open_ms: 2_000,
                }),
            }),
            fenced: vec![v1::VipFenced {
                component: "kube-scheduler".to_owned(),
                pid: 4711,
                start_ticks: 99,
            }],
        }
    }

    fn limits_mut(fed: &mut v1::VipFeedRequest) -> &mut v1::VipLimits {
        let balancer = fed.balancer.as_mut().expect("there");
        balancer.limits.as_mut().expect("there")
    }

    #[test]
    fn a_whole_feed_is_understood() {
        let wanted = Wanted::try_from(&good()).expect("good");
        let listeners: Vec<String> = wanted
            .balancer
            .listeners
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            listeners,
            [
                "127.0.0.1:6443",
                "[::1]:6443",
                "10.77.0.100:6443",
                "[fd00:77::100]:6443"
            ]
        );
        let backends: Vec<_> = wanted
            .balancer
            .backends
            .iter()
            .map(|backend| (backend.weight, backend.local, backend.draining))
            .collect();
        assert_eq!(backends, [(1, true, true), (100, false, false)]);
        assert_eq!(
            wanted.balancer.limits,
            Limits {
                connections: 5_000,
                half_open: 100,
                half_open_time: Duration::from_secs(2),
            }
        );
        assert!(wanted.balancer.proxy_protocol);
        assert_eq!(wanted.vips[1].interface, Selector::Named("eth0".to_owned()));
        let lease = wanted.lease.expect("lease");
        assert_eq!(lease.feed.members.len(), 1);
        let scheduler = ProcessId {
            pid: 4711,
            start_ticks: 99,
        };
        assert_eq!(lease.fenced[&scheduler], "kube-scheduler");
    }

    #[test]
    fn every_method_of_the_spec_is_known() {
        for (name, method) in [
            ("", Method::RoundRobin),
            ("round-robin", Method::RoundRobin),
            ("weighted-round-robin", Method::WeightedRoundRobin),
            ("least-connections", Method::LeastConnections),
            ("source-hash", Method::SourceHash),
        ] {
            let mut fed = good();
            name.clone_into(&mut fed.balancer.as_mut().expect("there").method);
            let wanted = Wanted::try_from(&fed).expect(name);
            assert_eq!(wanted.balancer.method, method, "{name}");
        }
    }

    #[test]
    fn without_members_only_the_balancer_is_wanted() {
        let mut fed = good();
        fed.members.clear();
        fed.lease_key.clear();
        assert_eq!(Wanted::try_from(&fed).expect("good").lease, None);
    }

    #[test]
    fn every_malformed_field_is_refused_by_its_name() {
        type Spoil = fn(&mut v1::VipFeedRequest);
        let cases: [(&str, Spoil); 22] = [
            ("cluster_id", |fed| fed.cluster_id.clear()),
            ("host_id", |fed| fed.host_id = 0),
            ("bind", |fed| fed.bind = "nowhere".to_owned()),
            ("bind", |fed| fed.bind = "0.0.0.0:9443".to_owned()),
            ("lease_key", |fed| fed.lease_key = vec![0; 31].into()),
            ("lease_ms", |fed| fed.lease_ms = 2001),
            ("members", |fed| {
                fed.members = vec![fed.members[0].clone(); 2];
            }),
            ("members", |fed| fed.members[0].preference = 256),
            ("addresses", |fed| {
                fed.addresses[0].cidr = "10.0.0.1".to_owned();
            }),
            ("addresses", |fed| {
                fed.addresses[0].interface = "../../x".to_owned();
            }),
            ("balancer.port", |fed| {
                fed.balancer.as_mut().expect("there").port = 65536;
            }),
            ("balancer.method", |fed| {
                fed.balancer.as_mut().expect("there").method = "random".to_owned();
            }),
            ("balancer.backends", |fed| {
                fed.balancer.as_mut().expect("there").backends[0].address =
                    "127.0.0.1:6443".to_owned();
            }),
            ("balancer.backends", |fed| {
                fed.balancer.as_mut().expect("there").backends[0].weight = 101;
            }),
            ("balancer.limits.connections", |fed| {
                limits_mut(fed).connections = 0;
            }),
            ("balancer.limits.half_open", |fed| {
                limits_mut(fed).half_open = u32::MAX;
            }),
            ("balancer.limits.half_open_ms", |fed| {
                limits_mut(fed).half_open_ms = 99;
            }),
            ("fenced", |fed| fed.fenced[0].component.clear()),
            ("fenced", |fed| fed.fenced[0].pid = 1),
            ("fenced", |fed| fed.fenced[0].pid = std::process::id()),
            ("fenced", |fed| fed.fenced[0].start_ticks = 0),
            ("fenced", |fed| fed.fenced.push(fed.fenced[0].clone())),
        ];
        for (field, spoil) in cases {
            let mut fed = good();
            spoil(&mut fed);
            let error = Wanted::try_from(&fed).expect_err(field);
            assert!(
                matches!(&error, VipError::Feed { field: named, .. } if *named == field),
                "{field}: {error}"
            );
        }
    }
}
