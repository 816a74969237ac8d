//! A tiny backend: answers GET like an apiserver's `/readyz`, tells its name to whoever asks
//! `who\n`, and echoes all else until the client has no more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use khactl_balancer::{
    BackendConfig, Balancer, BalancerConfig, BalancerStatus, HealthConfig, Method,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// Long enough for a machine whose cores are busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) ready: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(name: &'static str, tls: Option<TlsAcceptor>) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("address"), name, tls).await
    }

    pub(crate) async fn start_at(
        address: SocketAddr,
        name: &'static str,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect("bind");
        let address = listener.local_addr().expect("address");
        let ready = Arc::new(AtomicBool::new(true));
        let mut tasks = JoinSet::new();
        let state = ready.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                let (state, tls) = (state.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, name, state).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, name, state).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            ready,
            tasks,
        }
    }

    pub(crate) fn config(&self, host: &str) -> BackendConfig {
        BackendConfig {
            host: host.to_owned(),
            address: self.address,
            weight: 1,
            local: false,
            draining: false,
        }
    }

    /// Ends the listener and every connection of it.
    pub(crate) async fn kill(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    name: &'static str,
    ready: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; 4096];
    while let Ok(read) = stream.read(&mut buffer).await {
        let answer: Vec<u8> = match &buffer[..read] {
            b"" => break,
            b"who\n" => name.into(),
            b"die\n" => return,
            get if get.starts_with(b"GET /readyz ") => {
                let status = if ready.load(Ordering::SeqCst) {
                    "200 OK"
                } else {
                    "500 Internal Server Error"
                };
                format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok").into()
            }
            echo => echo.to_vec(),
        };
        if stream.write_all(&answer).await.is_err() {
            break;
        }
    }
    // The client may have gone first.
    let _gone = stream.shutdown().await;
}

/// A port that was free a moment ago.
pub(crate) async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    listener.local_addr().expect("address").port()
}

pub(crate) fn config(port: u16, backends: Vec<BackendConfig>) -> BalancerConfig {
    BalancerConfig {
        listeners: vec![SocketAddr::from(([127, 0, 0, 1], port))],
        method: Method::RoundRobin,
        health: HealthConfig {
            period: Duration::from_millis(50),
            timeout: Duration::from_secs(2),
            ..HealthConfig::default()
        },
        backends,
        ..BalancerConfig::default()
    }
}

/// Starts a balancer in the test's own runtime.
pub(crate) fn run(config: BalancerConfig) -> (Balancer, JoinSet<()>) {
    run_within(u64::MAX, config)
}

/// As [`run`], in a process that may have so many descriptors.
pub(crate) fn run_within(descriptors: u64, config: BalancerConfig) -> (Balancer, JoinSet<()>) {
    let (balancer, task) = Balancer::new(descriptors);
    balancer.apply(config);
    let mut owner = JoinSet::new();
    owner.spawn(task.run());
    (balancer, owner)
}

/// Waits until the status is as wanted; panics with the last one if it never is.
pub(crate) async fn until(balancer: &Balancer, wanted: impl Fn(&BalancerStatus) -> bool) {
    let reached = timeout(PATIENCE, async {
        while !wanted(&balancer.status()) {
            sleep(Duration::from_millis(5)).await;
        }
    });
    let reached = reached.await.is_ok();
    assert!(
        reached,
        "never reached; the last status: {:#?}",
        balancer.status()
    );
}

pub(crate) async fn until_healthy(balancer: &Balancer, count: usize) {
    until(balancer, |status| {
        status.backends.iter().filter(|b| b.healthy).count() == count
    })
    .await;
}

/// Connects once something listens there.
pub(crate) async fn connect(port: u16) -> TcpStream {
    connect_to([127, 0, 0, 1], port).await
}

/// The same by another address.
pub(crate) async fn connect_to(address: [u8; 4], port: u16) -> TcpStream {
    timeout(PATIENCE, async {
        loop {
            if let Ok(stream) = TcpStream::connect(SocketAddr::from((address, port))).await {
                return stream;
            }
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("nobody listens")
}

/// The name of the backend behind the balancer.
pub(crate) async fn who(stream: &mut TcpStream) -> std::io::Result<String> {
    stream.write_all(b"who\n").await?;
    let mut name = vec![0; 16];
    let read = timeout(PATIENCE, stream.read(&mut name)).await??;
    Ok(String::from_utf8_lossy(&name[..read]).into_owned())
}
