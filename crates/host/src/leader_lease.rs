//! Reads and clears the Lease of kube-controller-manager or kube-scheduler over the Kubernetes API, with the
//! component's own certificate. Whether it may be cleared is not decided here; a Lease that was written to since it was
//! read is never overwritten. It speaks protobuf, as the components do: there are API servers that take no JSON of a Lease.

mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use khactl_model::component::ComponentName;
use khactl_model::leader_lease::{LeaderLease, NAMESPACE};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::error::HostError;
use crate::tls::{Alpn, TlsMaterial};

/// How the components speak.
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// A Lease has a few hundred bytes.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// A Lease as it was read, whole, so that clearing it changes nothing else.
#[derive(Debug, Clone)]
pub struct ReadLease {
    /// What is of interest.
    pub lease: LeaderLease,
    whole: Bytes,
}

/// How an attempt to clear a Lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleared {
    /// Nobody holds it.
    Done,
    /// Somebody wrote to it since it was read; it is as they left it.
    Conflict,
}

/// A client of one Lease. Connects when it is first used, and anew after any failure.
#[derive(Debug)]
pub struct LeaseClient {
    component: ComponentName,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    timeout: Duration,
    connection: Option<Connection>,
}

/// A connection, and the task that drives it and ends with it.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

impl LeaseClient {
    /// A client of the Lease of that component, at the API server at `address`. Each call, with connecting, takes
    /// `timeout` at the most.
    pub fn new(
        component: ComponentName,
        address: SocketAddr,
        material: &TlsMaterial,
        timeout: Duration,
    ) -> Result<Self, HostError> {
        Ok(Self {
            component,
            address,
            tls: material.client_config("a component's Lease", Alpn::HTTP_1)?,
            timeout,
            connection: None,
        })
    }

    /// The Lease as it is; `None`: there is none.
    pub async fn read(&mut self) -> Result<Option<ReadLease>, HostError> {
        let (status, body) = self.call("reading", Method::GET, Bytes::new()).await?;
        match status {
            StatusCode::OK => {
                let lease = wire::read(&body)
                    .ok_or_else(|| self.failed("reading", "the answer is no Lease".to_owned()))?;
                Ok(Some(ReadLease { lease, whole: body }))
            }
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(self.failed("reading", status.to_string())),
        }
    }

    /// Takes the holder out of the Lease, as the component does itself when it ends in order; only if nobody has written
    /// to it since it was read.
    pub async fn clear(&mut self, read: &ReadLease) -> Result<Cleared, HostError> {
        let body = wire::cleared(&read.whole)
            .ok_or_else(|| self.failed("clearing", "it was read as no Lease".to_owned()))?;
        let (status, _) = self.call("clearing", Method::PUT, body.into()).await?;
        match status {
            StatusCode::OK => Ok(Cleared::Done),
            StatusCode::CONFLICT => Ok(Cleared::Conflict),
            status => Err(self.failed("clearing", status.to_string())),
        }
    }

    async fn call(
        &mut self,
        action: &'static str,
        method: Method,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), HostError> {
        // Whatever is in flight when the time is over is dropped with its connection.
        let mut connection = self.connection.take();
        let exchange = async {
            let mut usable = match connection.take().filter(|known| known.sender.is_ready()) {
                Some(known) => known,
                None => self.connect().await?,
            };
            let answer = self.ask(&mut usable.sender, method, body).await?;
            Ok::<_, String>((answer, usable))
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(Ok((answer, usable))) => {
                self.connection = Some(usable);
                Ok(answer)
            }
            Ok(Err(reason)) => Err(self.failed(action, reason)),
            Err(_) => {
                let reason = format!("no answer within {} ms", self.timeout.as_millis());
                Err(self.failed(action, reason))
            }
        }
    }

    async fn connect(&self) -> Result<Connection, String> {
        let stream = TcpStream::connect(self.address)
            .await
            .map_err(|error| format!("connecting to {}: {error}", self.address))?;
        stream
            .set_nodelay(true)
            .map_err(|error| format!("connecting: {error}"))?;
        let name = ServerName::IpAddress(self.address.ip().into());
        let stream = TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, stream)
            .await
            .map_err(|error| format!("TLS: {error}"))?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its error is the next request's too.
            let _ = connection.await;
        });
        Ok(Connection {
            sender,
            _driver: driver,
        })
    }

    async fn ask(
        &self,
        sender: &mut SendRequest<Full<Bytes>>,
        method: Method,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), String> {
        let path = format!(
            "/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{}",
            self.component
        );
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("user-agent", "khactl")
            .header("accept", PROTOBUF)
            .header("content-type", PROTOBUF)
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| error.to_string())?;
        Ok((status, body.to_bytes()))
    }

    fn failed(&self, action: &'static str, reason: String) -> HostError {
        HostError::LeaderLease {
            action,
            component: self.component,
            reason,
        }
    }
}
