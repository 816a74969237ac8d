//! The gRPC service on the Unix socket: translates, decides nothing.

use std::sync::Arc;

use khactl_proto::v1;
use tonic::{Request, Response, Status};

use crate::control::{Control, Snapshot};
use crate::error::chain;

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
        let successor = Some(request.get_ref().successor_id).filter(|id| *id != 0);
        let held = self.control.hand_over(successor).await;
        Ok(Response::new(v1::VipHandOverResponse { held }))
    }
}

fn status(snapshot: Snapshot) -> v1::VipStatusResponse {
    let fit = snapshot.fit;
    v1::VipStatusResponse {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        fed: snapshot.digest.is_some(),
        feed_digest: snapshot.digest.unwrap_or_default().into(),
        lease: Some(
            snapshot
                .lease
                .map_or_else(v1::VipLease::default, |lease| v1::VipLease {
                    running: lease.failure.is_none(),
                    holder_id: lease.holder.unwrap_or(0),
                    holding: lease.holding,
                    epoch: lease.epoch,
                    fence: lease.fence,
                    ready: lease.ready && lease.past_silence,
                    realtime: lease.realtime,
                    locked: lease.locked,
                    fit,
                    sent: lease.counters.sent,
                    received: lease.counters.received,
                    refused: lease.counters.refused,
                    replayed: lease.counters.replayed,
                    unsent: lease.counters.unsent,
                    acquired: lease.counters.acquired,
                    ended: lease.counters.ended,
                    ..v1::VipLease::default()
                }),
        ),
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
            })
            .collect(),
        connections: snapshot.balancer.connections,
        problems: snapshot.problems,
        gate: None,
    }
}
