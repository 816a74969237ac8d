//! What the balancer shall do: the whole desired state, replaced as one.

use std::net::SocketAddr;
use std::time::Duration;

/// The desired state. Applying the same again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BalancerConfig {
    /// Where to listen. Addresses that are not on this host are allowed (`IP_FREEBIND`): such a
    /// listener hears nothing until the address comes.
    pub listeners: Vec<SocketAddr>,
    /// How the next backend is chosen.
    pub method: Method,
    /// How backends are judged.
    pub health: HealthConfig,
    /// The backends; each address once.
    pub backends: Vec<BackendConfig>,
    /// What clients may take.
    pub limits: Limits,
    /// Whether backends are told who their clients are, before anything else (PROXY protocol, version 2). They must
    /// understand it then, on every connection.
    pub proxy_protocol: bool,
}

/// What clients may take of this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at one time; more wait in the kernel's queue.
    pub connections: usize,
    /// Of those, the ones that have said nothing yet. One more, and the oldest is reset.
    pub half_open: usize,
    /// How long a client may say nothing after it has connected.
    pub half_open_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            half_open: 1_000,
            half_open_time: Duration::from_secs(10),
        }
    }
}

/// How the next backend is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// Each in turn, as often as its weight says, evenly mixed.
    WeightedRoundRobin,
    /// The one with the fewest open connections for its weight.
    LeastConnections,
    /// The same one for the same client, as long as it is there; more clients for a higher weight.
    SourceHash,
}

/// One apiserver. Weight and the two flags may change without disturbing a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendConfig {
    /// The name of its host, for status and logs.
    pub host: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share beside the others'; none counts as 1. Round robin does not look at it.
    pub weight: u8,
    /// It runs on this host: preferred for clients that come by loopback.
    pub local: bool,
    /// It is about to be stopped: its connections go on, new ones go elsewhere while that is possible.
    pub draining: bool,
}

/// How backends are judged: by a GET answered with 2xx within the timeout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthConfig {
    /// How the request travels.
    pub scheme: Scheme,
    /// The path asked for, such as `/readyz`.
    pub path: String,
    /// Time from one request to the next.
    pub period: Duration,
    /// Time that connecting and answering may take together.
    pub timeout: Duration,
    /// Good answers in a row that make a backend healthy.
    pub rise: u32,
    /// Bad answers in a row that make it unhealthy.
    pub fall: u32,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            scheme: Scheme::Http,
            path: "/readyz".to_owned(),
            period: Duration::from_millis(500),
            timeout: Duration::from_millis(500),
            rise: 2,
            fall: 2,
        }
    }
}

/// How a health request travels, and with it what the backends speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// By TLS.
    Https {
        /// Authorities in PEM. Empty: the certificate is not judged. The balancer passes bytes
        /// through, so that clients judge the certificate themselves in any case.
        ca_pem: Vec<u8>,
    },
}

impl Scheme {
    /// Whether the backends understand TLS alone.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Https { .. })
    }
}
