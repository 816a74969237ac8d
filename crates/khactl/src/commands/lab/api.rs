//! A Kubernetes client for one connection at a time, with nothing between it and the API: no
//! retry, no cache, no second address. What it says was acknowledged was.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::kubeconfig::Access;
use crate::failure::chain;

/// A list of a long test's ConfigMaps stays below.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Calls the API; connects again after every failure.
pub(super) struct Api {
    server: String,
    config: Arc<ClientConfig>,
    timeout: Duration,
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<Full<Bytes>>,
    /// Moves the bytes; ends with the connection or with this value.
    _connection: JoinSet<()>,
}

impl Api {
    /// `timeout` is for one call, the connect included.
    pub(super) fn new(access: Access, timeout: Duration) -> Self {
        Self {
            server: access.server,
            config: access.config,
            timeout,
            open: None,
        }
    }

    /// One call. After an error it is unknown whether it took effect.
    pub(super) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<(StatusCode, Bytes), String> {
        let timeout = self.timeout;
        // Taken out: a connection on which a call failed, or was given up, is not used again.
        let open = self.open.take();
        let called = tokio::time::timeout(timeout, self.exchange(open, method, path, body))
            .await
            .map_err(|_| format!("no answer in {} ms", timeout.as_millis()))?;
        let (open, answer) = called?;
        self.open = Some(open);
        Ok(answer)
    }

    async fn exchange(
        &self,
        open: Option<Open>,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<(Open, (StatusCode, Bytes)), String> {
        let mut open = match open {
            Some(open) if !open.sender.is_closed() => open,
            _ => self.connect().await?,
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.server)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(Full::from(body))
            .map_err(|error| chain(&error))?;
        open.sender.ready().await.map_err(|error| chain(&error))?;
        let answer = open
            .sender
            .send_request(request)
            .await
            .map_err(|error| chain(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| chain(error.as_ref()))?
            .to_bytes();
        Ok((open, (status, body)))
    }

    async fn connect(&self) -> Result<Open, String> {
        let host = self
            .server
            .rsplit_once(':')
            .map_or(self.server.as_str(), |(host, _)| host)
            .trim_start_matches('[')
            .trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(|error| chain(&error))?;
        let stream = TcpStream::connect(&self.server)
            .await
            .map_err(|error| chain(&error))?;
        stream.set_nodelay(true).map_err(|error| chain(&error))?;
        let stream = TlsConnector::from(Arc::clone(&self.config))
            .connect(name, stream)
            .await
            .map_err(|error| chain(&error))?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| chain(&error))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Its error comes out of the call that was waiting.
            let _ = connection.await;
        });
        Ok(Open {
            sender,
            _connection: tasks,
        })
    }
}
