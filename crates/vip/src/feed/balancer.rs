//! The balancer's part of a feed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use khactl_balancer::{BackendConfig, BalancerConfig, HealthConfig, Limits, Method, Scheme};
use khactl_proto::v1;

use super::{host, refused, socket};
use crate::address::Vip;
use crate::error::VipError;

/// Most backends; far more apiservers than any control plane has.
const BACKENDS_MAX: usize = 64;
/// Longest authorities file; some dozens of certificates.
const CA_BYTES_MAX: usize = 256 * 1024;
/// A minute is longer than anybody wants a check to take.
const HEALTH_MS: std::ops::RangeInclusive<u32> = 10..=60_000;
/// As in the spec.
const WEIGHT_MAX: u32 = 100;
/// More descriptors than any host has to spare.
const CONNECTIONS: std::ops::RangeInclusive<u32> = 1..=1_000_000;
/// Less than a round trip on a slow line would end honest clients.
const HALF_OPEN_MS: std::ops::RangeInclusive<u32> = 100..=600_000;

/// The balancer's whole desired state; nowhere to listen without a port. `own` is this host's address.
pub(super) fn config(
    fed: &v1::VipBalancer,
    vips: &[Vip],
    own: Option<IpAddr>,
) -> Result<BalancerConfig, VipError> {
    let port = u16::try_from(fed.port).map_err(|_| refused("balancer.port", "above 65535"))?;
    if port == 0 {
        return Ok(BalancerConfig::default());
    }
    if fed.backends.len() > BACKENDS_MAX {
        return Err(refused(
            "balancer.backends",
            format!("more than {BACKENDS_MAX}"),
        ));
    }
    let mut listeners = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
    if vips.iter().any(|vip| vip.address.is_ipv6()) {
        listeners.push(SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
    }
    listeners.extend(vips.iter().map(|vip| SocketAddr::from((vip.address, port))));
    let mut backends: Vec<BackendConfig> = Vec::with_capacity(fed.backends.len());
    for backend in &fed.backends {
        let address = socket("balancer.backends", &backend.address)?;
        if listeners.contains(&address) || backends.iter().any(|b| b.address == address) {
            return Err(refused(
                "balancer.backends",
                format!("{address} is there twice, or is the balancer itself"),
            ));
        }
        backends.push(BackendConfig {
            host: host("balancer.backends", &backend.host)?,
            address,
            weight: weight(backend.weight)?,
            local: own == Some(address.ip()),
            draining: backend.draining,
        });
    }
    Ok(BalancerConfig {
        listeners,
        method: match fed.method.as_str() {
            "" | "round-robin" => Method::RoundRobin,
            "weighted-round-robin" => Method::WeightedRoundRobin,
            "least-connections" => Method::LeastConnections,
            "source-hash" => Method::SourceHash,
            other => {
                return Err(refused(
                    "balancer.method",
                    format!("{other:?} is no way to balance that this khavip knows"),
                ));
            }
        },
        health: match &fed.health {
            Some(health) => health_config(health)?,
            None => HealthConfig::default(),
        },
        backends,
        limits: match &fed.limits {
            Some(limits) => limits_of(limits)?,
            None => Limits::default(),
        },
        proxy_protocol: fed.proxy_protocol,
    })
}

fn weight(fed: u32) -> Result<u8, VipError> {
    match u8::try_from(fed) {
        Ok(weight) if fed <= WEIGHT_MAX => Ok(weight.max(1)),
        _ => Err(refused(
            "balancer.backends",
            format!("the weight {fed} is above {WEIGHT_MAX}"),
        )),
    }
}

fn limits_of(fed: &v1::VipLimits) -> Result<Limits, VipError> {
    let count = |field, value: u32| match usize::try_from(value) {
        Ok(count) if CONNECTIONS.contains(&value) => Ok(count),
        _ => Err(refused(
            field,
            format!("{value} is not within {CONNECTIONS:?}"),
        )),
    };
    if !HALF_OPEN_MS.contains(&fed.half_open_ms) {
        return Err(refused(
            "balancer.limits.half_open_ms",
            format!("{} is not within {HALF_OPEN_MS:?}", fed.half_open_ms),
        ));
    }
    Ok(Limits {
        connections: count("balancer.limits.connections", fed.connections)?,
        half_open: count("balancer.limits.half_open", fed.half_open)?,
        half_open_time: Duration::from_millis(fed.half_open_ms.into()),
    })
}

fn health_config(fed: &v1::VipHealth) -> Result<HealthConfig, VipError> {
    let scheme = match fed.scheme.as_str() {
        "http" => Scheme::Http,
        "https" if fed.ca_pem.len() <= CA_BYTES_MAX => Scheme::Https {
            ca_pem: fed.ca_pem.to_vec(),
        },
        "https" => return Err(refused("balancer.health.ca_pem", "more than 256 KiB")),
        other => {
            return Err(refused(
                "balancer.health.scheme",
                format!("{other:?} is neither http nor https"),
            ));
        }
    };
    let millis = |field, value: u32| {
        if HEALTH_MS.contains(&value) {
            Ok(Duration::from_millis(value.into()))
        } else {
            Err(refused(
                field,
                format!("{value} is not within {HEALTH_MS:?}"),
            ))
        }
    };
    Ok(HealthConfig {
        scheme,
        path: fed.path.clone(),
        period: millis("balancer.health.period_ms", fed.period_ms)?,
        timeout: millis("balancer.health.timeout_ms", fed.timeout_ms)?,
        rise: fed.rise,
        fall: fed.fall,
    })
}
