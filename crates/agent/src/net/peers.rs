//! Channels to the other hosts' agents: one per address, connected when first used.
//!
//! A channel reconnects by itself; a call on a dead one fails and the next one dials again.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::client::{
    ResolvesClientCert, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::certificate::LiveCertificate;
use super::dial::{DialError, dial};
use super::identity::Identity;
use super::tls::{Judge, Presented, client, provider};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A peer that vanished is noticed after the sum of both.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The other hosts' agents, over mutual TLS with this host's own certificate.
pub struct Peers {
    own: Arc<LiveCertificate>,
    entries: Mutex<HashMap<SocketAddr, Entry>>,
}

struct Entry {
    /// The host that must answer there; `None` while only the address is known.
    host: Option<String>,
    channel: Channel,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}

impl Peers {
    /// No peers yet; `own` is shown to them.
    pub fn new(own: Arc<LiveCertificate>) -> Arc<Self> {
        Arc::new(Self {
            own,
            entries: Mutex::default(),
        })
    }

    /// The channel to the agent at `address`. Cheap; connects at the first call.
    ///
    /// Who answers must be the host that [`Self::set_members`] named for this address, or,
    /// for an address it did not name, a host whose certificate holds the address.
    pub fn channel(&self, address: SocketAddr) -> Channel {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .entry(address)
            .or_insert_with(|| Entry {
                host: None,
                channel: self.open(address, None),
            })
            .channel
            .clone()
    }

    /// A connection of its own to the same agent, for what would hold up the calls on the others' one.
    pub fn channel_apart(&self, address: SocketAddr) -> Channel {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let host = entries.get(&address).and_then(|entry| entry.host.clone());
        self.open(address, host)
    }

    /// Says which hosts there are now: (address, name). Entries of hosts that left or moved
    /// are dropped; their channels close when the last user lets go.
    pub fn set_members(&self, members: impl IntoIterator<Item = (SocketAddr, String)>) {
        let members: HashMap<_, _> = members.into_iter().collect();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|address, entry| members.get(address) == entry.host.as_ref());
        for (address, host) in members {
            entries.entry(address).or_insert_with(|| Entry {
                channel: self.open(address, Some(host.clone())),
                host: Some(host),
            });
        }
    }

    fn open(&self, address: SocketAddr, host: Option<String>) -> Channel {
        let own = Arc::clone(&self.own);
        let connector = service_fn(move |_| {
            let own = Arc::clone(&own);
            let host = host.clone();
            async move { connect(address, own, host).await.map(TokioIo::new) }
        });
        endpoint(address).connect_with_connector_lazy(connector)
    }
}

/// HTTP/2 settings of every channel between agents.
pub(super) fn endpoint(address: SocketAddr) -> Endpoint {
    // The scheme is for tonic alone: TLS is the connector's.
    Endpoint::from_shared(format!("http://{address}"))
        .expect("an address and a port always make a URI")
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}

async fn connect(
    address: SocketAddr,
    own: Arc<LiveCertificate>,
    host: Option<String>,
) -> Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>, DialError> {
    let judge = PeerJudge {
        authority: own.authority(),
        host,
    };
    let own: Arc<dyn ResolvesClientCert> = own;
    let config = client(judge, Some(own)).map_err(|source| DialError::Handshake {
        address,
        source: std::io::Error::other(source),
    })?;
    dial(address, config, CONNECT_TIMEOUT).await
}

#[derive(Debug)]
struct PeerJudge {
    authority: Arc<RootCertStore>,
    host: Option<String>,
}

impl Judge for PeerJudge {
    fn judge(&self, presented: &Presented<'_>) -> Result<(), Error> {
        let leaf = ParsedCertificate::try_from(presented.leaf)?;
        verify_server_cert_signed_by_trust_anchor(
            &leaf,
            &self.authority,
            presented.rest,
            presented.now,
            provider().signature_verification_algorithms.all,
        )?;
        let identity = Identity::of_certificate(presented.leaf);
        match (&self.host, identity) {
            (Some(expected), Identity::Host { name }) if *expected == name => Ok(()),
            (None, Identity::Host { .. }) => verify_server_name(&leaf, presented.name),
            _ => Err(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            )),
        }
    }
}
