//! Asks a component once whether it is ready. What a refusal means is not decided here.

mod exec;
mod line;
mod repeated;

pub use repeated::RepeatedProbe;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::HostError;
use crate::tls;
use line::{Failure, Line};

/// Characters of an answer that are worth repeating.
const REASON_CHARS_MAX: usize = 300;

/// The answer to a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It serves.
    Ready,
    /// It does not.
    NotReady {
        /// Why, for people.
        reason: String,
    },
}

impl Readiness {
    /// Whether it serves.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }
}

/// A question to a component.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Where it is asked; of no meaning to a program that asks.
    address: SocketAddr,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Exec(exec::Program),
    Tcp,
    Http {
        path: String,
    },
    Https {
        path: String,
        name: ServerName<'static>,
        tls: Arc<ClientConfig>,
    },
}

impl Probe {
    /// Ready if it accepts a connection.
    pub fn tcp(address: SocketAddr) -> Self {
        Self {
            address,
            kind: Kind::Tcp,
        }
    }

    /// Ready if `GET path` answers 200 without TLS.
    pub fn http(address: SocketAddr, path: &str) -> Self {
        Self {
            address,
            kind: Kind::Http {
                path: path.to_owned(),
            },
        }
    }

    /// Ready if `GET path` answers 200 over TLS as `tls` wants it; the certificate must be for the
    /// address. Make `tls` with [`tls::Alpn::HTTP_1`].
    pub fn https(address: SocketAddr, path: &str, tls: Arc<ClientConfig>) -> Self {
        let name = ServerName::IpAddress(address.ip().into());
        Self {
            address,
            kind: Kind::Https {
                path: path.to_owned(),
                name,
                tls,
            },
        }
    }

    /// As [`Probe::https`], with whatever certificate the server shows: for components that make
    /// their own. Refused for addresses other than loopback.
    pub fn https_loopback(address: SocketAddr, path: &str) -> Result<Self, HostError> {
        if !address.ip().is_loopback() {
            return Err(HostError::UnverifiedProbe { address });
        }
        Ok(Self::https(address, path, tls::unverified()?))
    }

    /// As [`Probe::https`], with whatever certificate the server shows: for servers that are somebody else's, to
    /// tell whether one is there at all. Nothing that it says is to be believed.
    pub fn https_unjudged(address: SocketAddr, path: &str) -> Result<Self, HostError> {
        Ok(Self::https(address, path, tls::unverified()?))
    }

    /// Ready if this program exits with 0. It runs as `user` (`None`: as whoever asks), and what it started is killed
    /// with it when its time is over.
    pub fn exec(command: Vec<String>, user: Option<String>) -> Self {
        Self {
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            kind: Kind::Exec(exec::Program { command, user }),
        }
    }

    /// Asks, and waits `timeout` for the whole answer.
    pub async fn run(&self, timeout: Duration) -> Readiness {
        self.run_by(None, timeout).await.0
    }

    /// Asks by a connection that was kept, if there is one; gives back one to keep.
    async fn run_by(&self, kept: Option<Line>, timeout: Duration) -> (Readiness, Option<Line>) {
        match tokio::time::timeout(timeout, self.ask(kept)).await {
            Ok(Ok(kept)) => (Readiness::Ready, kept),
            Ok(Err(reason)) => (Readiness::NotReady { reason }, None),
            Err(_) => {
                let whom = self.whom();
                let reason = format!("{whom} did not answer within {} ms", timeout.as_millis());
                (Readiness::NotReady { reason }, None)
            }
        }
    }

    fn whom(&self) -> String {
        match &self.kind {
            Kind::Exec(program) => program.to_string(),
            _ => self.address.to_string(),
        }
    }

    async fn ask(&self, kept: Option<Line>) -> Result<Option<Line>, String> {
        let path = match &self.kind {
            Kind::Exec(program) => return program.run().await.map(|()| None),
            Kind::Tcp => return self.connect().await.map(|_stream| None),
            Kind::Http { path } | Kind::Https { path, .. } => path,
        };
        if let Some(line) = kept {
            match line.get(self.address, path).await {
                // Servers close what lies idle: that says nothing of them.
                Err(Failure::Broken(_)) => {}
                answer => return answer.map_err(Failure::into_reason),
            }
        }
        let stream = self.connect().await?;
        let line = match &self.kind {
            Kind::Https { name, tls, .. } => {
                let stream = TlsConnector::from(tls.clone())
                    .connect(name.clone(), stream)
                    .await
                    .map_err(|error| format!("TLS with {}: {error}", self.address))?;
                Line::open(stream).await
            }
            _ => Line::open(stream).await,
        };
        let line = line.map_err(|error| format!("GET {path} at {}: {error}", self.address))?;
        let answer = line.get(self.address, path).await;
        answer.map_err(Failure::into_reason)
    }

    async fn connect(&self) -> Result<TcpStream, String> {
        TcpStream::connect(self.address)
            .await
            .map_err(|error| format!("connecting to {}: {error}", self.address))
    }
}

/// What somebody said, fit to be repeated in one line.
fn reason(said: &[u8]) -> String {
    String::from_utf8_lossy(said)
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(REASON_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    const PATIENCE: Duration = Duration::from_secs(10);

    async fn server(answer: &'static str) -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 1024];
                let _ = stream.read(&mut buffer).await;
                if answer.is_empty() {
                    std::future::pending::<()>().await;
                }
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (address, tasks)
    }

    #[tokio::test]
    async fn answer_200_is_ready_and_500_is_not_with_its_words() {
        let (address, _tasks) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        assert_eq!(
            Probe::http(address, "/readyz").run(PATIENCE).await,
            Readiness::Ready
        );
        assert!(Probe::tcp(address).run(PATIENCE).await.is_ready());

        let (address, _tasks) =
            server("HTTP/1.1 500 Internal Server Error\r\nconnection: close\r\n\r\n[-]etcd failed")
                .await;
        let Readiness::NotReady { reason } = Probe::http(address, "/readyz").run(PATIENCE).await
        else {
            panic!("500 is not ready");
        };
        assert!(
            reason.contains("500") && reason.contains("[-]etcd failed"),
            "{reason}"
        );
    }

    #[tokio::test]
    async fn silence_and_refusal_are_not_ready() {
        let (address, _tasks) = server("").await;
        let Readiness::NotReady { reason } = Probe::http(address, "/healthz")
            .run(Duration::from_millis(50))
            .await
        else {
            panic!("silence is not readiness");
        };
        assert!(reason.contains("within 50 ms"), "{reason}");
        let free = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        assert!(!Probe::tcp(free).run(PATIENCE).await.is_ready());
    }

    #[tokio::test]
    async fn garbage_instead_of_http_is_not_ready() {
        let (address, _tasks) = server("SSH-2.0-x\r\n\r\n").await;
        assert!(!Probe::http(address, "/").run(PATIENCE).await.is_ready());
    }

    #[test]
    fn unverified_probe_is_for_loopback_alone() {
        assert!(Probe::https_loopback("127.0.0.1:10257".parse().unwrap(), "/healthz").is_ok());
        let error =
            Probe::https_loopback("10.77.0.11:10257".parse().unwrap(), "/healthz").unwrap_err();
        assert!(error.to_string().contains("loopback"), "{error}");
    }
}
