//! The few calls to etcd that membership and health need, over mutual TLS.
//!
//! It tells a cluster that is not ready yet from a request that is wrong; waiting and repeating
//! are decided by the caller. It never touches Kubernetes' data.

mod failure;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use khactl_proto::etcdserverpb as pb;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use crate::error::HostError;

pub use failure::EtcdFailure;

/// A connection attempt to one endpoint takes this long at the most, so that a dead host leaves
/// time to ask the next one within the call's deadline.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A member as etcd lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdMember {
    /// etcd's id of it.
    pub id: u64,
    /// Its name; empty until it has started for the first time.
    pub name: String,
    /// Where peers reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has started.
    pub client_urls: Vec<String>,
    /// It has no vote.
    pub learner: bool,
}

/// What one member says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdStatus {
    /// Its id.
    pub member_id: u64,
    /// Its cluster's id.
    pub cluster_id: u64,
    /// Its version, for example `3.5.16`.
    pub version: String,
    /// Bytes of its database on disk.
    pub db_size: u64,
    /// The leader's id; 0 if it knows none.
    pub leader: u64,
    /// Raft term.
    pub term: u64,
    /// Last index of its log.
    pub index: u64,
    /// Last index it has applied.
    pub applied: u64,
    /// It has no vote.
    pub learner: bool,
    /// Alarms and other trouble in etcd's words.
    pub errors: Vec<String>,
}

/// A client of the members behind some endpoints. Cheap to clone; connects when first used and
/// again after a break.
#[derive(Clone)]
pub struct EtcdClient {
    channels: Vec<(String, Channel)>,
    deadline: Duration,
}

impl fmt::Debug for EtcdClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.channels.iter().map(|(endpoint, _)| endpoint))
            .finish()
    }
}

impl EtcdClient {
    /// A client that asks `endpoints` (`https://ADDRESS:PORT`) in this order; a call takes `deadline`
    /// at the most at each of them. Make `tls` with [`crate::tls::Alpn::H2`].
    pub fn new<E: AsRef<str>>(
        endpoints: &[E],
        tls: &Arc<ClientConfig>,
        deadline: Duration,
    ) -> Result<Self, HostError> {
        let mut channels = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            let endpoint = endpoint.as_ref();
            channels.push((endpoint.to_owned(), channel(endpoint, tls)?));
        }
        if channels.is_empty() {
            return Err(HostError::EtcdEndpoint {
                endpoint: String::new(),
            });
        }
        Ok(Self { channels, deadline })
    }

    /// The members. `linearizable` asks the quorum (etcd 3.5; 3.4 answers from its own view).
    pub async fn member_list(&self, linearizable: bool) -> Result<Vec<EtcdMember>, HostError> {
        let request = pb::MemberListRequest { linearizable };
        let answer = self
            .call("listing the members", |channel| async move {
                pb::cluster_client::ClusterClient::new(channel)
                    .member_list(request)
                    .await
            })
            .await?;
        Ok(answer.members.into_iter().map(EtcdMember::from).collect())
    }

    /// Adds a member that will have these peer URLs, as a learner or with a vote at once.
    pub async fn member_add(
        &self,
        peer_urls: &[String],
        learner: bool,
    ) -> Result<EtcdMember, HostError> {
        let request = pb::MemberAddRequest {
            peer_urls: peer_urls.to_vec(),
            is_learner: learner,
        };
        let answer = self
            .call("adding a member", |channel| {
                let request = request.clone();
                async move {
                    pb::cluster_client::ClusterClient::new(channel)
                        .member_add(request)
                        .await
                }
            })
            .await?;
        Ok(answer.member.unwrap_or_default().into())
    }

    /// Removes a member.
    pub async fn member_remove(&self, id: u64) -> Result<(), HostError> {
        self.call("removing a member", |channel| async move {
            pb::cluster_client::ClusterClient::new(channel)
                .member_remove(pb::MemberRemoveRequest { id })
                .await
        })
        .await?;
        Ok(())
    }

    /// Gives a learner its vote.
    pub async fn member_promote(&self, id: u64) -> Result<(), HostError> {
        self.call("promoting a learner", |channel| async move {
            pb::cluster_client::ClusterClient::new(channel)
                .member_promote(pb::MemberPromoteRequest { id })
                .await
        })
        .await?;
        Ok(())
    }

    /// What the first member that answers says of itself; make a client per endpoint to ask a
    /// certain one.
    pub async fn status(&self) -> Result<EtcdStatus, HostError> {
        let answer = self
            .call("asking for the status", |channel| async move {
                pb::maintenance_client::MaintenanceClient::new(channel)
                    .status(pb::StatusRequest {})
                    .await
            })
            .await?;
        let header = answer.header.unwrap_or_default();
        Ok(EtcdStatus {
            member_id: header.member_id,
            cluster_id: header.cluster_id,
            version: answer.version,
            db_size: u64::try_from(answer.db_size).unwrap_or(0),
            leader: answer.leader,
            term: answer.raft_term,
            index: answer.raft_index,
            applied: answer.raft_applied_index,
            learner: answer.is_learner,
            errors: answer.errors,
        })
    }

    /// Reads through the quorum: that it returns shows that etcd serves. Gives the store's
    /// revision.
    pub async fn linearizable_read(&self) -> Result<i64, HostError> {
        // The key that etcd's own health check reads; it need not exist.
        let request = pb::RangeRequest {
            key: b"health".to_vec(),
            count_only: true,
            ..Default::default()
        };
        let answer = self
            .call("reading through the quorum", |channel| {
                let request = request.clone();
                async move { pb::kv_client::KvClient::new(channel).range(request).await }
            })
            .await?;
        Ok(answer.header.unwrap_or_default().revision)
    }

    // Not `AsyncFn`: whether its futures may go to another thread is more than today's compiler
    // can tell where they are awaited in a task.
    async fn call<T, F>(
        &self,
        action: &'static str,
        ask: impl Fn(Channel) -> F,
    ) -> Result<T, HostError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut last = None;
        for (endpoint, channel) in &self.channels {
            let answer = tokio::time::timeout(self.deadline, ask(channel.clone())).await;
            let status = match answer {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded(format!(
                    "no answer within {} ms",
                    self.deadline.as_millis()
                )),
            };
            let failure = EtcdFailure::of(&status);
            last = Some(HostError::Etcd {
                action,
                endpoint: endpoint.clone(),
                failure,
                source: Box::new(status),
            });
            if !failure.try_next_endpoint() {
                break;
            }
        }
        Err(last.unwrap_or_else(|| HostError::EtcdEndpoint {
            endpoint: String::new(),
        }))
    }
}

impl From<pb::Member> for EtcdMember {
    fn from(member: pb::Member) -> Self {
        Self {
            id: member.id,
            name: member.name,
            peer_urls: member.peer_urls,
            client_urls: member.client_urls,
            learner: member.is_learner,
        }
    }
}

fn channel(endpoint: &str, tls: &Arc<ClientConfig>) -> Result<Channel, HostError> {
    let wrong = || HostError::EtcdEndpoint {
        endpoint: endpoint.to_owned(),
    };
    let origin: Uri = endpoint.parse().map_err(|_| wrong())?;
    let (Some("https"), Some(host), Some(port)) =
        (origin.scheme_str(), origin.host(), origin.port_u16())
    else {
        return Err(wrong());
    };
    // The URI writes an IPv6 address in brackets, the socket and the certificate do not.
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
    let connector = TlsConnector::from(tls.clone());
    let connect = tower::service_fn(move |_: Uri| {
        let (host, name, connector) = (host.clone(), name.clone(), connector.clone());
        async move {
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            let stream = connector.connect(name, stream).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    // The transport is built without TLS of its own and takes an `https` URI for a mistake; requests
    // carry the true one as their origin.
    let plain = format!(
        "http://{}",
        origin
            .authority()
            .map_or("", |authority| authority.as_str())
    );
    let endpoint = Endpoint::from_shared(plain).map_err(|_| wrong())?;
    Ok(endpoint
        .origin(origin)
        .connect_timeout(CONNECT_TIMEOUT)
        .connect_with_connector_lazy(connect))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Alpn, TlsMaterial};

    fn some_tls() -> Arc<ClientConfig> {
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap();
        TlsMaterial {
            ca_pem: cert.pem().into_bytes(),
            identity: None,
        }
        .client_config("etcd", Alpn::H2)
        .unwrap()
    }

    #[tokio::test]
    async fn endpoints_without_tls_or_port_are_refused() {
        let tls = some_tls();
        for endpoint in [
            "http://127.0.0.1:2379",
            "https://127.0.0.1",
            "127.0.0.1:2379",
            "",
        ] {
            let error = EtcdClient::new(&[endpoint], &tls, CONNECT_TIMEOUT).unwrap_err();
            assert!(
                matches!(error, HostError::EtcdEndpoint { .. }),
                "{endpoint}: {error}"
            );
        }
        assert!(EtcdClient::new(&["https://[::1]:2379"], &tls, CONNECT_TIMEOUT).is_ok());
        assert!(EtcdClient::new::<&str>(&[], &tls, CONNECT_TIMEOUT).is_err());
    }

    #[tokio::test]
    async fn an_endpoint_that_nobody_serves_is_unreachable() {
        let client = EtcdClient::new(
            &["https://127.0.0.1:1"],
            &some_tls(),
            Duration::from_secs(10),
        )
        .unwrap();
        let error = client.member_list(true).await.unwrap_err();
        let HostError::Etcd { failure, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(*failure, EtcdFailure::Unreachable);
        assert!(error.is_retryable());
    }
}
