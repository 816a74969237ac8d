//! One TLS connection out, with a deadline and with errors that say which part failed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Why another agent could not be reached, or is not the one that was meant.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The text is no endpoint.
    #[error("read the endpoint {endpoint}: it is not HOST:PORT; write it like 10.77.0.11:9443")]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
    /// The name has no address.
    #[error("look up {endpoint}: the name has no address; check it, or give the IP address")]
    Resolve {
        /// What was given.
        endpoint: String,
        /// The resolver's reason, if it gave one.
        #[source]
        source: Option<io::Error>,
    },
    /// The host answers, the port does not.
    #[error("connect to {address}: refused; check that khad runs there and serves a cluster")]
    Refused {
        /// Whom.
        address: SocketAddr,
    },
    /// No answer at all, or a handshake that does not end.
    #[error(
        "connect to {address}: no answer within {} ms; check the host and the firewalls \
         between for 9443/tcp",
        after.as_millis()
    )]
    TimedOut {
        /// Whom.
        address: SocketAddr,
        /// The deadline.
        after: Duration,
    },
    /// The network has no way there.
    #[error("connect to {address}: unreachable; check the routes and this host's network")]
    Unreachable {
        /// Whom.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Something else than an agent listens there.
    #[error("connect to {address}: what answers does not speak TLS; is it khad's port (9443)?")]
    NotTls {
        /// Whom.
        address: SocketAddr,
    },
    /// The authority is not the pinned one.
    #[error(
        "connect to {address}: its authority is not the one the token was made by; take a \
         fresh token from the right cluster, and if it is the right one, suspect the network"
    )]
    WrongPin {
        /// Whom.
        address: SocketAddr,
    },
    /// The certificate's key is not the expected one.
    #[error("connect to {address}: another host answers there; check that the address is its own")]
    WrongKey {
        /// Whom.
        address: SocketAddr,
    },
    /// The certificate is not valid at this host's time.
    #[error(
        "connect to {address}: its certificate is not valid at this host's time; compare both \
         clocks, then renew the certificate"
    )]
    Dates {
        /// Whom.
        address: SocketAddr,
    },
    /// The handshake failed otherwise.
    #[error("connect to {address}: the TLS handshake failed; look into khad's log there")]
    Handshake {
        /// Whom.
        address: SocketAddr,
        /// TLS' reason.
        #[source]
        source: io::Error,
    },
}

/// Connects and shakes hands, all within `deadline`.
pub(super) async fn dial(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    deadline: Duration,
) -> Result<TlsStream<TcpStream>, DialError> {
    let attempt = async {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|source| not_connected(address, source))?;
        stream
            .set_nodelay(true)
            .map_err(|source| not_connected(address, source))?;
        let name = ServerName::IpAddress(address.ip().into());
        TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|source| no_handshake(address, source))
    };
    match tokio::time::timeout(deadline, attempt).await {
        Ok(result) => result,
        Err(_) => Err(DialError::TimedOut {
            address,
            after: deadline,
        }),
    }
}

fn not_connected(address: SocketAddr, source: io::Error) -> DialError {
    match source.kind() {
        io::ErrorKind::ConnectionRefused => DialError::Refused { address },
        _ => DialError::Unreachable { address, source },
    }
}

fn no_handshake(address: SocketAddr, source: io::Error) -> DialError {
    if source.kind() == io::ErrorKind::UnexpectedEof {
        return DialError::NotTls { address };
    }
    let tls = source
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidMessage(_)) => DialError::NotTls { address },
        Some(rustls::Error::InvalidCertificate(wrong)) => match wrong {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => DialError::Dates { address },
            CertificateError::Other(other) => match other.0.downcast_ref::<Mismatch>() {
                Some(Mismatch::Pin) => DialError::WrongPin { address },
                Some(Mismatch::Key) => DialError::WrongKey { address },
                None => DialError::Handshake { address, source },
            },
            _ => DialError::Handshake { address, source },
        },
        _ => DialError::Handshake { address, source },
    }
}

/// What a judge found, on its way through rustls.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(super) enum Mismatch {
    #[error("no authority with the pinned key vouches for the certificate")]
    Pin,
    #[error("the certificate has another key than the expected one")]
    Key,
}

impl From<Mismatch> for rustls::Error {
    fn from(mismatch: Mismatch) -> Self {
        Self::InvalidCertificate(CertificateError::Other(rustls::OtherError(Arc::new(
            mismatch,
        ))))
    }
}
