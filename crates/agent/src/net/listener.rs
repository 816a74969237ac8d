//! Port 9443: accepts TCP, shakes hands, hands over connections with their callers.
//!
//! A handshake runs in its own task under a deadline. When too many are under way the oldest
//! is given up, so that clients that never finish cannot keep out those that do.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use khactl_pki::Pin;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::service::Routes;

use super::caller::Caller;
use super::certificate::LiveCertificate;
use super::connection::Connection;
use super::error::NetError;
use super::identity::Identity;
use super::serving::{READY_MAX, serve};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
const HANDSHAKES_MAX: usize = 128;
/// Open connections of callers without a role: joiners come one by one.
const ANONYMOUS_MAX: usize = 64;
/// Open connections of callers with a role: seven hosts and some people.
const KNOWN_MAX: usize = 512;
/// After a failed accept, most often for want of file descriptors: what frees one is another
/// connection's end, which gives no sign here.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The agents' port, bound and not yet served.
pub struct TlsListener {
    listener: TcpListener,
    address: SocketAddr,
    acceptor: TlsAcceptor,
}

impl TlsListener {
    /// Binds the port; `live` is shown to clients, and its authority judges theirs.
    ///
    /// # Errors
    /// [`NetError::PortTaken`], [`NetError::Listen`], [`NetError::Identity`].
    pub async fn bind(address: SocketAddr, live: &Arc<LiveCertificate>) -> Result<Self, NetError> {
        let acceptor = TlsAcceptor::from(live.server()?);
        let listener = bind(address).await?;
        let address = listener
            .local_addr()
            .map_err(|source| NetError::Listen { address, source })?;
        Ok(Self {
            listener,
            address,
            acceptor,
        })
    }

    /// Where it listens, with the port that the system chose if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `routes` until `shutdown` ends, and up to two seconds more for calls under way.
    /// Every request carries its [`Caller`].
    ///
    /// # Errors
    /// [`NetError::Serve`]: nothing a client does leads there.
    pub async fn serve(
        self,
        routes: Routes,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), NetError> {
        let (sender, ready) = mpsc::channel(READY_MAX);
        let accepting = accept(self.listener, self.acceptor, sender);
        serve(self.address.to_string(), ready, accepting, routes, shutdown).await
    }
}

/// Binds a TCP port; a taken one is its own error.
pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, NetError> {
    TcpListener::bind(address).await.map_err(|source| {
        if source.kind() == io::ErrorKind::AddrInUse {
            NetError::PortTaken { address }
        } else {
            NetError::Listen { address, source }
        }
    })
}

struct Places {
    anonymous: Arc<Semaphore>,
    known: Arc<Semaphore>,
}

impl Places {
    fn take(&self, identity: &Identity) -> Option<OwnedSemaphorePermit> {
        let class = match identity {
            Identity::None => &self.anonymous,
            _ => &self.known,
        };
        Arc::clone(class).try_acquire_owned().ok()
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    ready: mpsc::Sender<Connection<TlsStream<TcpStream>>>,
) -> Infallible {
    let places = Arc::new(Places {
        anonymous: Arc::new(Semaphore::new(ANONYMOUS_MAX)),
        known: Arc::new(Semaphore::new(KNOWN_MAX)),
    });
    let mut handshakes = JoinSet::new();
    let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    oldest_first.retain(|handshake| !handshake.is_finished());
                    if oldest_first.len() >= HANDSHAKES_MAX
                        && let Some(oldest) = oldest_first.pop_front()
                    {
                        tracing::debug!("too many handshakes at once: the oldest is given up");
                        oldest.abort();
                    }
                    let task = welcome(
                        stream, peer, acceptor.clone(), Arc::clone(&places), ready.clone(),
                    );
                    oldest_first.push_back(handshakes.spawn(task));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = handshakes.join_next() => {}
        }
    }
}

async fn welcome(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: TlsAcceptor,
    places: Arc<Places>,
    ready: mpsc::Sender<Connection<TlsStream<TcpStream>>>,
) {
    // Raft's messages are small and must not wait for more to send. A socket that refuses
    // the option is already dead, as the handshake will show.
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "handshake refused");
            return;
        }
        Err(_) => {
            tracing::debug!(%peer, "handshake not finished in time");
            return;
        }
    };
    let (identity, key_pin) = match stream.get_ref().1.peer_certificates() {
        Some([leaf, ..]) => (
            Identity::of_certificate(leaf),
            Pin::of_certificate(leaf).map(Pin::to_hex),
        ),
        _ => (Identity::None, None),
    };
    let Some(place) = places.take(&identity) else {
        tracing::warn!(%peer, %identity, "too many open connections: this one is closed");
        return;
    };
    let caller = Caller {
        identity,
        local: false,
        key_pin,
        address: Some(peer),
    };
    // The receiver is gone only at the shutdown; then so is this connection.
    let _ = ready.send(Connection::new(stream, caller, place)).await;
}
