//! What can fail while the channel is set up.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a listener or a certificate could not be put into service.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A file's text is not what it should be.
    #[error(
        "load the agent's TLS identity: the {what} is not usable; \
         have the certificate issued again"
    )]
    Identity {
        /// "authority", "certificate", "key" or what rustls was told.
        what: &'static str,
        /// The parser's or rustls' reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The port is in use.
    #[error(
        "listen on {address}: another program has this port; find it with `ss -ltnp` and stop it"
    )]
    PortTaken {
        /// Where the agent wanted to listen.
        address: SocketAddr,
    },
    /// The address cannot be listened on for another reason.
    #[error("listen on {address}: the system refuses; check that this host has the address")]
    Listen {
        /// Where the agent wanted to listen.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Another agent answers on the Unix socket.
    #[error(
        "listen on {}: another khad is running there; stop it, or use another --run-dir",
        path.display()
    )]
    AlreadyRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The Unix socket cannot be made.
    #[error("{doing} {}: the system refuses; check the folder and its owner", path.display())]
    Socket {
        /// "lock", "make", "remove the stale" …
        doing: &'static str,
        /// The socket or its lock.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// gRPC gave up serving.
    #[error("serve requests on {at}: the server ended; restart khad")]
    Serve {
        /// The address or path.
        at: String,
        /// tonic's reason.
        #[source]
        source: tonic::transport::Error,
    },
}

impl NetError {
    pub(super) fn identity(
        what: &'static str,
    ) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> Self {
        move |source| Self::Identity { what, source }
    }
}
