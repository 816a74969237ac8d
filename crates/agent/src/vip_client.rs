//! The way to khavip: tells it what to work with and asks how it is.

use hyper_util::rt::TokioIo;
use khactl_model::component::ComponentName;
use khactl_model::facts::{FencedComponent, GateFact, VipFact, VipMeasured, VipPeerFact};
use khactl_plan::effect::VipFeed;
use khactl_plan::feed_digest;
use khactl_proto::v1::{self, vip_client::VipClient as Client};
use prost::Message;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::time;

/// khavip answers from memory; one that takes longer is as good as away.
const TIMEOUT: Duration = Duration::from_millis(500);

/// khavip waits 3 s at the most until the VIP is gone.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(4);

/// A client of khavip's Unix socket.
#[derive(Debug)]
pub struct VipClient {
    channel: Channel,
    /// Digest that khavip gives for the last feed, and the plan's digest of the same.
    fed: Option<(Vec<u8>, String)>,
}

/// Why khavip was not fed.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// A field of the feed does not convert.
    #[error("feeding khavip: the {0} is not valid")]
    Field(&'static str),
    /// khavip did not take it.
    #[error("feeding khavip at its socket: {}", .0.message())]
    Call(#[source] Box<tonic::Status>),
}

impl VipClient {
    /// For the khavip of that socket; connects when it is first used, and again when needed.
    pub fn new(socket: &Path) -> Self {
        let path: PathBuf = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The address is never looked up: the connector knows its path.
        let channel = Endpoint::from_static("http://khavip")
            .connect_timeout(TIMEOUT)
            .connect_with_connector_lazy(connector);
        Self { channel, fed: None }
    }

    /// Its status; `None`: it does not answer.
    pub async fn status(&mut self) -> Option<VipFact> {
        let status = Client::new(self.channel.clone())
            .status(time::within(TIMEOUT, v1::VipStatusRequest {}))
            .await
            .ok()?
            .into_inner();
        let lease = status.lease.unwrap_or_default();
        let fed = match &self.fed {
            Some((theirs, ours))
                if !theirs.is_empty() && *theirs == status.feed_digest.to_vec() =>
            {
                ours.clone()
            }
            _ => String::new(),
        };
        Some(VipFact {
            fed,
            holder: (lease.holder_id != 0).then_some(lease.holder_id),
            holding: lease.holding,
            epoch: lease.epoch,
            fence: lease.fence,
            ready: lease.ready,
            draining: status
                .backends
                .iter()
                .filter(|backend| backend.draining)
                .map(|backend| backend.host.clone())
                .collect(),
            backends: status
                .backends
                .into_iter()
                .map(|backend| (backend.host, backend.healthy))
                .collect(),
            realtime: lease.realtime,
            locked: lease.locked,
            problems: status.problems,
            fit: lease.fit,
            reason: lease.reason,
            gate: status.gate.map_or_else(GateFact::default, |gate| GateFact {
                kind: gate.kind,
                reason: gate.reason,
            }),
            measured: VipMeasured {
                lateness_us_p99: lease.lateness_us_p99,
                lateness_us_max: lease.lateness_us_max,
                peers: lease
                    .peers
                    .into_iter()
                    .map(|peer| VipPeerFact {
                        host_id: peer.host_id,
                        rtt_us_p50: peer.rtt_us_p50,
                        rtt_us_max: peer.rtt_us_max,
                        silent_ms: peer.silent_ms,
                    })
                    .collect(),
            },
            fenced_components: status.fence.map_or_else(Vec::new, armed),
        })
    }

    /// What its balancer does now; `None`: it does not answer.
    pub async fn balancer(&self) -> Option<v1::BackendsResponse> {
        let status = Client::new(self.channel.clone())
            .status(time::within(TIMEOUT, v1::VipStatusRequest {}))
            .await
            .ok()?
            .into_inner();
        Some(v1::BackendsResponse {
            backends: status.backends,
            connections: status.connections,
            half_open: status.half_open,
            half_open_ended: status.half_open_ended,
            connections_max: status.connections_max,
        })
    }

    /// Asks it to give the VIP up in favour of that host; `None`: whoever comes first. True if it held it; returns
    /// once it does not.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn hand_over(&self, successor: Option<u64>) -> Result<bool, FeedError> {
        let request = v1::VipHandOverRequest {
            successor_id: successor.unwrap_or(0),
            ..Default::default()
        };
        Client::new(self.channel.clone())
            .hand_over(time::within(HAND_OVER_TIMEOUT, request))
            .await
            .map(|response| response.into_inner().held)
            .map_err(|status| FeedError::Call(Box::new(status)))
    }

    /// Tells it the whole desired state. The lease's key stays out of plans and comes here.
    ///
    /// # Errors
    /// A field does not convert, or khavip does not take it.
    pub async fn feed(&mut self, feed: &VipFeed, lease_key: &[u8]) -> Result<(), FeedError> {
        let request = request(feed, lease_key)?;
        let encoded = request.encode_to_vec();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &encoded);
        Client::new(self.channel.clone())
            .feed(time::within(TIMEOUT, request))
            .await
            .map_err(|status| FeedError::Call(Box::new(status)))?;
        self.fed = Some((digest.as_ref().to_vec(), feed_digest(feed)));
        Ok(())
    }
}

/// What khavip has confirmed to kill; what it does not know by a component's name is nobody's to rely on.
fn armed(fence: v1::VipFence) -> Vec<FencedComponent> {
    let processes = fence.processes.into_iter();
    processes
        .filter(|status| status.armed)
        .filter_map(|status| status.process)
        .filter_map(|process| {
            Some(FencedComponent {
                name: ComponentName::parse(&process.component)?,
                pid: process.pid,
                start_ticks: process.start_ticks,
                identity: None,
            })
        })
        .collect()
}

/// The feed as khavip reads it.
///
/// # Errors
/// A field does not convert.
pub fn request(feed: &VipFeed, lease_key: &[u8]) -> Result<v1::VipFeedRequest, FeedError> {
    let id = &feed.cluster_id;
    let cluster_id: Vec<u8> = (0..id.len() / 2)
        .map(|i| u8::from_str_radix(id.get(2 * i..2 * i + 2).unwrap_or("x"), 16))
        .collect::<Result<_, _>>()
        .map_err(|_| FeedError::Field("cluster id"))?;
    Ok(v1::VipFeedRequest {
        cluster_id: cluster_id.into(),
        host_id: feed.host_id,
        bind: std::net::SocketAddr::new(feed.address, khactl_model::AGENT_PORT).to_string(),
        lease_key: lease_key.to_vec().into(),
        epoch: feed.epoch,
        confirmed: feed.confirmed,
        members: feed
            .members
            .iter()
            .map(|member| v1::VipMember {
                id: member.host_id,
                host: member.host.clone(),
                address: member.address.to_string(),
                preference: member.preference.into(),
                proposer: member.proposer,
            })
            .collect(),
        lease_ms: feed.lease_ms,
        addresses: feed
            .vips
            .iter()
            .map(|cidr| v1::VipAddress {
                cidr: cidr.clone(),
                interface: feed.interface.clone(),
            })
            .collect(),
        balancer: Some(v1::VipBalancer {
            port: feed.port.into(),
            method: feed.method.clone(),
            health: Some(v1::VipHealth {
                scheme: feed.health.scheme.clone(),
                path: feed.health.path.clone(),
                ca_pem: feed.health.ca_pem.clone().into_bytes().into(),
                period_ms: feed.health.period_ms,
                timeout_ms: feed.health.timeout_ms,
                rise: feed.health.rise,
                fall: feed.health.fall,
            }),
            backends: feed
                .backends
                .iter()
                .map(|backend| v1::VipBackend {
                    host: backend.host.clone(),
                    address: backend.address.to_string(),
                    weight: backend.weight.into(),
                    draining: backend.draining,
                })
                .collect(),
            proxy_protocol: feed.proxy_protocol,
            limits: Some(v1::VipLimits {
                connections: feed.limits.connections,
                half_open: feed.limits.half_open,
                half_open_ms: feed.limits.half_open_ms,
            }),
        }),
        fenced: feed
            .fenced
            .iter()
            .map(|process| v1::VipFenced {
                component: process.name.to_string(),
                pid: process.pid,
                start_ticks: process.start_ticks,
            })
            .collect(),
    })
}
