//! What stands behind both balancers: three small HTTP servers on loopback, in this process, much quicker than any
//! balancer.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Below the ports that connections get.
pub(crate) const PORTS: [u16; 3] = [821, 822, 823];

/// Answered with `LONG_CHUNKS` MiB.
pub(crate) const LONG_PATH: &str = "/long";
const LONG_CHUNKS: usize = 64;

const SHORT: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
static CHUNK: [u8; 1 << 20] = [b'x'; 1 << 20];

/// Running servers. Dropped, they end.
#[derive(Debug)]
pub(crate) struct Backends {
    _runtime: Runtime,
    _listening: JoinSet<()>,
}

impl Backends {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("no runtime for the backends")?;
        let mut listening = JoinSet::new();
        for port in PORTS {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let listener = runtime
                .block_on(TcpListener::bind(address))
                .with_context(|| format!("cannot listen on {address}"))?;
            listening.spawn_on(accept(listener), runtime.handle());
        }
        Ok(Self {
            _runtime: runtime,
            _listening: listening,
        })
    }
}

async fn accept(listener: TcpListener) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    clients.spawn(serve(stream));
                }
            }
            Some(_ended) = clients.join_next() => {}
        }
    }
}

/// Until the client goes, or asks for the connection to be closed.
async fn serve(mut stream: TcpStream) {
    // Without it, short answers would wait for nobody.
    let _dead = stream.set_nodelay(true);
    let mut heard = Vec::new();
    loop {
        match stream.read_buf(&mut heard).await {
            Ok(1..) => {}
            _ => return,
        }
        while let Some(end) = heard.windows(4).position(|window| window == b"\r\n\r\n") {
            let request: Vec<u8> = heard.drain(..end + 4).collect();
            if answer(&mut stream, &request).await.is_err() {
                return;
            }
            let close = b"onnection: close";
            if request.windows(close.len()).any(|window| window == close) {
                let _gone = stream.shutdown().await;
                return;
            }
        }
    }
}

async fn answer(stream: &mut TcpStream, request: &[u8]) -> std::io::Result<()> {
    if !request.starts_with(format!("GET {LONG_PATH} ").as_bytes()) {
        return stream.write_all(SHORT).await;
    }
    let length = LONG_CHUNKS * CHUNK.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    for _ in 0..LONG_CHUNKS {
        stream.write_all(&CHUNK).await?;
    }
    Ok(())
}
