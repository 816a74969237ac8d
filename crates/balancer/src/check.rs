//! Asks one backend whether it is ready, over a connection kept from one request to the next: a
//! TLS handshake every period would cost more than all else that an idle balancer does. Judges
//! nothing: thresholds are `health`'s.

use std::future::pending;
use std::sync::Arc;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use khactl_sys::clock::monotonic;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::backend::Backend;
use crate::config::{BalancerConfig, HealthConfig};
use crate::proxy;

/// Longest answer that is read; a healthy apiserver says `ok`.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The checks of one backend.
pub(crate) struct Check {
    backend: Arc<Backend>,
    health: HealthConfig,
    proxy_protocol: bool,
    tls: Option<Arc<ClientConfig>>,
    kept: Option<Kept>,
}

/// A connection that waits for the next request, and the one task that drives it.
struct Kept {
    requests: SendRequest<Empty<Bytes>>,
    driver: JoinSet<()>,
}

impl Check {
    pub(crate) fn new(
        backend: Arc<Backend>,
        wanted: &BalancerConfig,
        tls: Option<Arc<ClientConfig>>,
    ) -> Self {
        Self {
            backend,
            health: wanted.health.clone(),
            proxy_protocol: wanted.proxy_protocol,
            tls,
            kept: None,
        }
    }

    /// One request; the error says in words why the backend is not ready.
    pub(crate) async fn ask(&mut self) -> Result<(), String> {
        // Taken out, so that a connection that failed in any way is not used again.
        let kept = self
            .kept
            .take()
            .filter(|kept| !kept.requests.is_closed() && kept.requests.is_ready());
        let period = self.health.timeout;
        match timeout(period, self.exchange(kept)).await {
            Ok(Ok(kept)) => {
                self.kept = Some(kept);
                Ok(())
            }
            Ok(Err(reason)) => Err(reason),
            Err(_elapsed) => Err(format!("no answer within {} ms", period.as_millis())),
        }
    }

    /// Resolves when the kept connection ends, which is the first sign of a backend's death;
    /// never, if none is kept.
    pub(crate) async fn closed(&mut self) {
        match &mut self.kept {
            Some(kept) => {
                kept.driver.join_next().await;
            }
            None => pending().await,
        }
    }

    async fn exchange(&self, kept: Option<Kept>) -> Result<Kept, String> {
        let mut kept = match kept {
            Some(kept) => kept,
            None => self.connect().await?,
        };
        let request = Request::get(self.health.path.as_str())
            .header(HOST, self.backend.address().to_string())
            .header(USER_AGENT, "khavip")
            .body(Empty::new())
            .map_err(|cause| format!("the request cannot be made: {cause}"))?;
        let answer = kept
            .requests
            .send_request(request)
            .await
            .map_err(|cause| format!("the request failed: {cause}"))?;
        let status = answer.status();
        Limited::new(answer.into_body(), BODY_BYTES_MAX)
            .collect()
            .await
            .map_err(|cause| format!("the answer broke off: {cause}"))?;
        if status.is_success() {
            Ok(kept)
        } else {
            Err(format!("answered {status}"))
        }
    }

    async fn connect(&self) -> Result<Kept, String> {
        let address = self.backend.address();
        let began = monotonic();
        let mut stream = TcpStream::connect(address)
            .await
            .map_err(|cause| format!("connecting failed: {cause}"))?;
        self.backend
            .connects
            .took(monotonic().saturating_sub(began));
        stream
            .set_nodelay(true)
            .map_err(|cause| format!("connecting failed: {cause}"))?;
        if self.proxy_protocol {
            stream
                .write_all(&proxy::local_header())
                .await
                .map_err(|cause| format!("connecting failed: {cause}"))?;
        }
        match &self.tls {
            None => handshake(stream).await,
            Some(tls) => {
                let name = ServerName::IpAddress(address.ip().into());
                let stream = TlsConnector::from(tls.clone())
                    .connect(name, stream)
                    .await
                    .map_err(|cause| format!("TLS failed: {cause}"))?;
                handshake(stream).await
            }
        }
    }
}

async fn handshake<S>(stream: S) -> Result<Kept, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (requests, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|cause| format!("HTTP failed: {cause}"))?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // How it ended shows in the next request.
        let _ended = connection.await;
    });
    Ok(Kept { requests, driver })
}
