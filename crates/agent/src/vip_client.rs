//! The way to khavip: tells it what to work with and asks how it is.

use hyper_util::rt::TokioIo;
use khactl_model::facts::VipFact;
use khactl_plan::effect::VipFeed;
use khactl_plan::feed_digest;
use khactl_proto::v1::{self, vip_client::VipClient as Client};
use prost::Message;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::time;

/// khavip answers from memory; one that takes longer is as good as away.
const TIMEOUT: Duration = Duration::from_millis(500);

/// The one-shot sends a few datagrams and one netlink request.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// A client of khavip's Unix socket.
#[derive(Debug)]
pub struct VipClient {
    channel: Channel,
    /// Digest that khavip gives for the last feed, and the plan's digest of the same.
    fed: Option<(Vec<u8>, String)>,
    /// The last feed as it was sent: a dead khavip is released with it.
    sent: Option<Vec<u8>>,
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
        Self {
            channel,
            fed: None,
            sent: None,
        }
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
            backends: status
                .backends
                .into_iter()
                .map(|backend| (backend.host, backend.healthy))
                .collect(),
            realtime: lease.realtime,
            locked: lease.locked,
            problems: status.problems,
        })
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
        self.sent = Some(encoded);
        Ok(())
    }

    /// Gives up, for a khavip that is proven dead, what it held: the address is removed and the
    /// lease released, so that the others need not wait it out (LEASE.md, K1–K5). Without a
    /// feed since this agent's start there is nothing to release with: the next khavip removes
    /// the address at its start, and the lease runs out.
    ///
    /// # Errors
    /// The one-shot could not be run, or it failed.
    pub async fn release_dead(&self, khavip: &Path, run_dir: &Path) -> std::io::Result<()> {
        let Some(feed) = &self.sent else {
            return Ok(());
        };
        let mut child = tokio::process::Command::new(khavip)
            .arg("release")
            .arg("--run-dir")
            .arg(run_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(feed).await?;
        }
        match tokio::time::timeout(RELEASE_TIMEOUT, child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(std::io::Error::other(format!("it ended with {status}"))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(std::io::Error::other("it did not end in time")),
        }
    }
}

fn request(feed: &VipFeed, lease_key: &[u8]) -> Result<v1::VipFeedRequest, FeedError> {
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
                })
                .collect(),
        }),
    })
}
