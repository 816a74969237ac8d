//! The gRPC service on the Unix socket: translates, decides nothing.

use std::sync::Arc;
use std::time::Duration;

use khactl_proto::v1;
use tonic::{Request, Response, Status};

use crate::control::{Control, Snapshot};
use crate::error::chain;
use crate::lease::LeaseStatus;

const NS_PER_MS: u64 = 1_000_000;

/// Serves khad.
#[derive(Clone)]
pub struct Service {
    control: Arc<Control>,
}

impl Service {
    /// For this process.
    pub fn new(control: Arc<Control>) -> Self {
        Self { control }
    }
}

#[tonic::async_trait]
impl v1::vip_server::Vip for Service {
    async fn feed(
        &self,
        request: Request<v1::VipFeedRequest>,
    ) -> Result<Response<v1::VipFeedResponse>, Status> {
        let problems = self
            .control
            .feed(request.get_ref())
            .await
            .map_err(|error| Status::invalid_argument(chain(&error)))?;
        Ok(Response::new(v1::VipFeedResponse { problems }))
    }

    async fn status(
        &self,
        _request: Request<v1::VipStatusRequest>,
    ) -> Result<Response<v1::VipStatusResponse>, Status> {
        Ok(Response::new(status(self.control.snapshot().await)))
    }

    async fn hand_over(
        &self,
        request: Request<v1::VipHandOverRequest>,
    ) -> Result<Response<v1::VipHandOverResponse>, Status> {
        let request = request.get_ref();
        let successor = Some(request.successor_id).filter(|id| *id != 0);
        let rest = Duration::from_millis(request.rest_ms.into());
        let held = self.control.hand_over(successor, rest).await;
        Ok(Response::new(v1::VipHandOverResponse { held }))
    }
}

fn lease(status: Option<LeaseStatus>, snapshot: &Snapshot) -> v1::VipLease {
    let reason = snapshot.reason.clone();
    let Some(lease) = status else {
        return v1::VipLease {
            reason,
            ..v1::VipLease::default()
        };
    };
    let name = |id| snapshot.names.get(&id).cloned().unwrap_or_default();
    let peers = lease.summary.peers.iter().filter(|peer| peer.host != 0);
    v1::VipLease {
        running: lease.failure.is_none(),
        holder_id: lease.holder.unwrap_or(0),
        holding: lease.holding,
        epoch: lease.epoch,
        fence: lease.fence,
        ready: lease.ready && lease.past_silence,
        realtime: lease.realtime,
        locked: lease.locked,
        fit: snapshot.fit,
        reason,
        sent: lease.counters.sent,
        received: lease.counters.received,
        refused: lease.counters.refused,
        replayed: lease.counters.replayed,
        unsent: lease.counters.unsent,
        acquired: lease.counters.acquired,
        ended: lease.counters.ended,
        lateness_us_p99: lease.summary.lateness_us_p99,
        lateness_us_max: lease.summary.lateness_us_max,
        peers: peers
            .map(|peer| v1::VipPeer {
                host_id: peer.host,
                host: name(peer.host),
                rtt_us_p50: peer.rtt_us_p50,
                rtt_us_max: peer.rtt_us_max,
                silent_ms: silent_ms(peer.heard_boottime_ns, lease.told_boottime_ns),
            })
            .collect(),
    }
}

fn fence(status: &LeaseStatus, snapshot: &Snapshot) -> v1::VipFence {
    let fence = &status.fencing;
    let places = fence.places.iter().filter(|place| place.process.pid != 0);
    let contact = if fence.alone {
        status.read_boottime_ns
    } else {
        fence.contact
    };
    v1::VipFence {
        silent_ms: silent_ms(contact, status.read_boottime_ns),
        processes: places
            .map(|place| v1::VipFencedStatus {
                process: Some(v1::VipFenced {
                    component: snapshot
                        .fenced
                        .get(&place.process)
                        .cloned()
                        .unwrap_or_default(),
                    pid: place.process.pid,
                    start_ticks: place.process.start_ticks,
                }),
                armed: place.armed,
                fired: place.killed,
            })
            .collect(),
        fired: fence.fired,
        reason: if fence.fired == 0 {
            String::new()
        } else {
            format!(
                "no majority of the lease's members answered for {} ms",
                fence.fired_after / NS_PER_MS
            )
        },
    }
}

/// `u32::MAX` for one that was never heard.
fn silent_ms(heard_boottime_ns: u64, now_boottime_ns: u64) -> u32 {
    if heard_boottime_ns == 0 {
        return u32::MAX;
    }
    let silent = now_boottime_ns.saturating_sub(heard_boottime_ns);
    u32::try_from(silent / 1_000_000).unwrap_or(u32::MAX - 1)
}

fn status(mut snapshot: Snapshot) -> v1::VipStatusResponse {
    let status = snapshot.lease.take();
    let fence = status.as_ref().map(|status| fence(status, &snapshot));
    let lease = lease(status, &snapshot);
    v1::VipStatusResponse {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        fed: snapshot.digest.is_some(),
        feed_digest: snapshot.digest.unwrap_or_default().into(),
        lease: Some(lease),
        addresses: snapshot
            .addresses
            .into_iter()
            .map(|address| v1::VipAddressStatus {
                address: address.address.to_string(),
                interface: address.interface.unwrap_or_default(),
                carrier: address.carrier,
                present: address.present,
            })
            .collect(),
        backends: snapshot
            .balancer
            .backends
            .into_iter()
            .map(|backend| v1::VipBackendStatus {
                host: backend.backend.host,
                address: backend.backend.address.to_string(),
                healthy: backend.healthy,
                reason: backend.reason,
                connections_open: backend.connections_open,
                connections_total: backend.connections_total,
                connects_failed: backend.connects_failed,
                bytes_to_backend: backend.bytes_to_backend,
                bytes_to_client: backend.bytes_to_client,
                suspect: backend.suspect,
                draining: backend.backend.draining,
                weight: backend.backend.weight.into(),
                connections_unanswered: backend.connections_unanswered,
            })
            .collect(),
        connections: snapshot.balancer.connections,
        connections_max: snapshot.balancer.connections_max,
        half_open: snapshot.balancer.half_open,
        half_open_ended: snapshot.balancer.half_open_ended,
        problems: snapshot.problems,
        gate: snapshot.gate.map(|gate| v1::VipGate {
            kind: gate.kind.name().to_owned(),
            reason: gate.reason,
            interfaces: gate.interfaces,
        }),
        fence,
    }
}
