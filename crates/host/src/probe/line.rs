//! One HTTP/1.1 connection to a component, by which one request after another can be made. Nothing drives it between
//! two requests: that it was closed shows in the next one. Judges nothing but the status.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use khactl_sys::clock::monotonic;
use tokio::io::{AsyncRead, AsyncWrite};

/// Health endpoints answer with a few lines; of a longer answer the beginning is enough.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A process that takes no connections any more is found out by a new one alone, and so is a certificate that has
/// expired. Once in so long a TLS handshake costs nothing that one could measure.
const AGE_MAX: Duration = Duration::from_secs(30);

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// The connection.
pub(super) struct Line {
    requests: SendRequest<Empty<Bytes>>,
    /// None once it has ended: a request that came too late for it is given up when it is dropped.
    driver: Option<Driver>,
    opened_at: Duration,
}

/// Why a request was not answered as it should be.
pub(super) enum Failure {
    /// There was no whole answer: the connection broke.
    Broken(String),
    /// It answered that it is not ready.
    Refused(String),
}

impl Failure {
    /// In words.
    pub(super) fn into_reason(self) -> String {
        match self {
            Self::Broken(reason) | Self::Refused(reason) => reason,
        }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

impl Line {
    /// By a stream that nobody has said anything on.
    pub(super) async fn open<S>(stream: S) -> hyper::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (requests, driver) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self {
            requests,
            driver: Some(Box::pin(driver)),
            opened_at: monotonic(),
        })
    }

    /// Whether it is too old for one more request.
    pub(super) fn is_worn(&self) -> bool {
        monotonic().saturating_sub(self.opened_at) >= AGE_MAX
    }

    /// Asks `GET path`; 200 is the good answer. The line comes back if it can be asked again.
    pub(super) async fn get(
        mut self,
        address: SocketAddr,
        path: &str,
    ) -> Result<Option<Self>, Failure> {
        let told =
            |error: &dyn fmt::Display| Failure::Broken(format!("GET {path} at {address}: {error}"));
        let request = Request::get(path)
            .header("host", address.to_string())
            .header("user-agent", "khactl")
            .body(Empty::<Bytes>::new())
            .map_err(|error| told(&error))?;
        let requests = &mut self.requests;
        let exchange = async {
            // Of one that was asked before: its last answer is behind it.
            requests.ready().await?;
            let response = requests.send_request(request).await?;
            let status = response.status();
            // What is left of a longer body is of no use; the status decides.
            let body = Limited::new(response.into_body(), BODY_BYTES_MAX)
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes);
            Ok((status, body))
        };
        let mut exchange = Box::pin(exchange);
        let answer = tokio::select! {
            biased;
            answer = &mut exchange => answer,
            end = drive(&mut self.driver) => {
                self.driver = None;
                match end {
                    Err(error) => Err(error),
                    // Closed by the server after its answer: that is there to be read.
                    Ok(()) => exchange.as_mut().await,
                }
            }
        };
        drop(exchange);
        let (status, body) = answer.map_err(|error: hyper::Error| told(&error))?;
        if status != http::StatusCode::OK {
            let text = super::reason(&body.unwrap_or_default());
            return Err(Failure::Refused(format!(
                "GET {path} at {address}: {status}: {text}"
            )));
        }
        Ok((body.is_ok() && self.driver.is_some()).then_some(self))
    }
}

async fn drive(driver: &mut Option<Driver>) -> hyper::Result<()> {
    match driver {
        Some(driver) => driver.await,
        None => Ok(()),
    }
}
