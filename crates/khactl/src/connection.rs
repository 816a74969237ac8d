//! The way to an agent: its Unix socket, or port 9443 with an identity file.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use khactl_proto::v1::admin_client::AdminClient;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::cli::Cli;
use crate::failure::{Failure, chain};
use crate::identity;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A log's chunk or a large status stays far below.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Which agent to ask.
#[derive(Debug, Clone)]
pub(crate) enum Agent {
    Socket(PathBuf),
    Network {
        endpoint: String,
        config: Arc<ClientConfig>,
    },
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Network { endpoint, .. } => f.write_str(endpoint),
        }
    }
}

impl Agent {
    /// The agent that the command line means.
    pub(crate) fn of(cli: &Cli) -> Result<Self, Failure> {
        match (&cli.endpoint, &cli.identity) {
            (None, None) => Ok(Self::Socket(cli.socket.clone())),
            (Some(endpoint), Some(file)) => Ok(Self::Network {
                endpoint: endpoint.clone(),
                config: identity::client_config(file)?,
            }),
            _ => Err(Failure::usage("--endpoint and --identity go together")),
        }
    }

    pub(crate) async fn connect(&self) -> Result<AdminClient<Channel>, Failure> {
        let channel = match self {
            Self::Socket(path) => socket_channel(path.clone()).await?,
            Self::Network { endpoint, config } => {
                network_channel(endpoint.clone(), Arc::clone(config)).await?
            }
        };
        Ok(AdminClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX))
    }
}

async fn socket_channel(path: PathBuf) -> Result<Channel, Failure> {
    let doing = format!("talk to the agent at {}", path.display());
    let first = UnixStream::connect(&path)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failure::new(
                "KHA0901",
                &doing,
                "no agent answers there",
                "start it: systemctl start khad",
            ),
            io::ErrorKind::PermissionDenied => Failure::new(
                "KHA0902",
                &doing,
                "only root may",
                "run khactl as root (sudo), or use --endpoint with an identity file",
            ),
            _ => Failure::new("KHA0901", &doing, chain(&error), "check the socket's path"),
        })?;
    let mut first = Some(first);
    Endpoint::from_static("http://khad")
        .connect_with_connector(service_fn(move |_| {
            let ready = first.take();
            let path = path.clone();
            async move {
                match ready {
                    Some(stream) => Ok(TokioIo::new(stream)),
                    None => UnixStream::connect(path).await.map(TokioIo::new),
                }
            }
        }))
        .await
        .map_err(|error| {
            Failure::new(
                "KHA0901",
                &doing,
                format!("what answers there is no agent: {}", chain(&error)),
                "check the socket's path",
            )
        })
}

async fn network_channel(endpoint: String, config: Arc<ClientConfig>) -> Result<Channel, Failure> {
    let unreachable = {
        let doing = format!("talk to the agent at {endpoint}");
        move |wrong: String| {
            Failure::new(
                "KHA0905",
                doing.clone(),
                wrong,
                "check the address, that khad runs there, and that the identity file is of that \
                 cluster and not expired",
            )
        }
    };
    let first = tokio::time::timeout(CONNECT_TIMEOUT, dial(&endpoint, Arc::clone(&config)))
        .await
        .map_err(|_| unreachable(format!("no answer in {} s", CONNECT_TIMEOUT.as_secs())))?
        .map_err(|error| unreachable(chain(&error)))?;
    let mut first = Some(first);
    Endpoint::from_static("http://khad")
        .connect_with_connector(service_fn(move |_| {
            let ready = first.take();
            let (endpoint, config) = (endpoint.clone(), Arc::clone(&config));
            async move {
                match ready {
                    Some(stream) => Ok(TokioIo::new(stream)),
                    None => dial(&endpoint, config).await.map(TokioIo::new),
                }
            }
        }))
        .await
        .map_err(|error| unreachable(chain(&error)))
}

async fn dial(endpoint: &str, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let host = endpoint
        .rsplit_once(':')
        .map(|(host, _)| host.trim_start_matches('[').trim_end_matches(']'))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it is not HOST:PORT"))?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let stream = TcpStream::connect(endpoint).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(config).connect(name, stream).await
}
