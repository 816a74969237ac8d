//! The few calls to etcd that membership and health need, over mutual TLS.
//!
//! It tells a cluster that is not ready yet from a request that is wrong; waiting and repeating
//! are decided by the caller. It never touches Kubernetes' data.

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
use tonic::{Code, Response, Status};

use crate::error::HostError;

/// A connection attempt to one endpoint takes this long at the most, so that a dead host leaves
/// time to ask the next one within the call's deadline.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Kinds of failure that callers treat differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EtcdFailure {
    /// No endpoint answered.
    Unreachable,
    /// No answer within the deadline, or etcd's own deadline passed.
    TimedOut,
    /// There is no leader, or it is just changing.
    NoLeader,
    /// Not every voter has been connected for long enough (5 s) for a change of members.
    Unhealthy,
    /// A change of members would endanger the quorum that there is.
    NotEnoughStarted,
    /// The learner has not caught up yet.
    LearnerBehind,
    /// Another learner has to be promoted first.
    TooManyLearners,
    /// A member with these peer URLs exists: an earlier call may have got through.
    PeerUrlExists,
    /// There is no such member.
    MemberNotFound,
    /// The member to promote has its vote already.
    NotALearner,
    /// The member that was asked is a learner, which does not answer this.
    AskedALearner,
    /// Anything else.
    Refused,
}

impl EtcdFailure {
    /// Whether the same call may succeed later with nobody's help.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Unreachable
            | Self::TimedOut
            | Self::NoLeader
            | Self::Unhealthy
            | Self::NotEnoughStarted
            | Self::LearnerBehind
            | Self::TooManyLearners
            | Self::AskedALearner => true,
            Self::PeerUrlExists | Self::MemberNotFound | Self::NotALearner | Self::Refused => false,
        }
    }

    /// Reads etcd's answer. Its texts are those of `api/v3rpc/rpctypes/error.go`, the same in 3.4
    /// and 3.5; codes alone do not tell these cases apart.
    fn of(status: &Status) -> Self {
        let text = status.message();
        let has = |part: &str| text.contains(part);
        if has("learner member which is in sync with leader") {
            Self::LearnerBehind
        } else if has("can only promote a learner member") {
            Self::NotALearner
        } else if has("too many learner members") {
            Self::TooManyLearners
        } else if has("not supported for learner") {
            Self::AskedALearner
        } else if has("unhealthy cluster") {
            Self::Unhealthy
        } else if has("not enough started members") {
            Self::NotEnoughStarted
        } else if has("Peer URLs already exists") || has("member ID already exist") {
            Self::PeerUrlExists
        } else if has("member not found") {
            Self::MemberNotFound
        } else if has("no leader") || has("not leader") || has("leader changed") {
            Self::NoLeader
        } else if has("request timed out") || status.code() == Code::DeadlineExceeded {
            Self::TimedOut
        } else if matches!(status.code(), Code::Unavailable | Code::Cancelled)
            || is_transport(status)
        {
            // Cancelled is what is left of a call whose connection went away under it: with TLS 1.3 a
            // client learns only then that its certificate was refused.
            Self::Unreachable
        } else {
            Self::Refused
        }
    }

    /// Another endpoint may do better. Asking it again is harmless even if the first one got the
    /// request: etcd refuses a second addition, removal or promotion of the same member.
    fn try_next_endpoint(self) -> bool {
        matches!(
            self,
            Self::Unreachable | Self::AskedALearner | Self::NoLeader
        )
    }
}

/// A connection that broke is reported by the transport, with any code.
fn is_transport(status: &Status) -> bool {
    std::error::Error::source(status)
        .is_some_and(|source| source.downcast_ref::<tonic::transport::Error>().is_some())
}

impl fmt::Display for EtcdFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "it does not answer; see whether etcd runs and its certificate is valid",
            Self::TimedOut => "no answer in time; try again",
            Self::NoLeader => "the members have no leader now; try again",
            Self::Unhealthy => "not all voters have been connected for 5 s; try again, and remove a member that is dead",
            Self::NotEnoughStarted => "too few members run for this change; start them or remove the dead one",
            Self::LearnerBehind => "the learner has not caught up yet; try again",
            Self::TooManyLearners => "another learner comes first; try again after its promotion",
            Self::PeerUrlExists => "a member with these peer URLs exists; list the members",
            Self::MemberNotFound => "there is no such member; list the members",
            Self::NotALearner => "the member has its vote already",
            Self::AskedALearner => "a learner does not answer this; ask a voter",
            Self::Refused => "etcd refused it",
        })
    }
}

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
            .call("listing the members", async |channel| {
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
            .call("adding a member", async |channel| {
                pb::cluster_client::ClusterClient::new(channel)
                    .member_add(request.clone())
                    .await
            })
            .await?;
        Ok(answer.member.unwrap_or_default().into())
    }

    /// Removes a member.
    pub async fn member_remove(&self, id: u64) -> Result<(), HostError> {
        self.call("removing a member", async |channel| {
            pb::cluster_client::ClusterClient::new(channel)
                .member_remove(pb::MemberRemoveRequest { id })
                .await
        })
        .await?;
        Ok(())
    }

    /// Gives a learner its vote.
    pub async fn member_promote(&self, id: u64) -> Result<(), HostError> {
        self.call("promoting a learner", async |channel| {
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
            .call("asking for the status", async |channel| {
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
            .call("reading through the quorum", async |channel| {
                pb::kv_client::KvClient::new(channel)
                    .range(request.clone())
                    .await
            })
            .await?;
        Ok(answer.header.unwrap_or_default().revision)
    }

    async fn call<T>(
        &self,
        action: &'static str,
        ask: impl AsyncFn(Channel) -> Result<Response<T>, Status>,
    ) -> Result<T, HostError> {
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

    fn failure(code: Code, text: &str) -> EtcdFailure {
        EtcdFailure::of(&Status::new(code, text))
    }

    #[test]
    fn waiting_for_a_learner_is_told_from_promoting_a_voter() {
        let behind = failure(
            Code::FailedPrecondition,
            "etcdserver: can only promote a learner member which is in sync with leader",
        );
        assert_eq!(behind, EtcdFailure::LearnerBehind);
        assert!(behind.is_retryable());
        let voter = failure(
            Code::FailedPrecondition,
            "etcdserver: can only promote a learner member",
        );
        assert_eq!(voter, EtcdFailure::NotALearner);
        assert!(!voter.is_retryable());
    }

    #[test]
    fn an_unhealthy_cluster_is_a_status_and_an_unknown_member_an_error() {
        for (code, text) in [
            (Code::Unavailable, "etcdserver: unhealthy cluster"),
            (
                Code::FailedPrecondition,
                "etcdserver: re-configuration failed due to not enough started members",
            ),
            (
                Code::FailedPrecondition,
                "etcdserver: too many learner members in cluster",
            ),
            (
                Code::Unavailable,
                "etcdserver: request timed out, possibly due to previous leader failure",
            ),
            (Code::Unavailable, "etcdserver: leader changed"),
            (Code::Unavailable, "tcp connect error"),
        ] {
            assert!(failure(code, text).is_retryable(), "{text}");
        }
        for (code, text) in [
            (Code::NotFound, "etcdserver: member not found"),
            (
                Code::FailedPrecondition,
                "etcdserver: Peer URLs already exists",
            ),
            (Code::PermissionDenied, "etcdserver: permission denied"),
        ] {
            assert!(!failure(code, text).is_retryable(), "{text}");
        }
    }

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
