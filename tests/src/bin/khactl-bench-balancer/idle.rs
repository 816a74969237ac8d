//! Connections on which nothing moves.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, ensure};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// Opens so many connections, has each answered once, and looks while all of them lie idle.
pub(crate) fn hold<T>(
    port: u16,
    count: u32,
    look: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    // The clients' ends and those of the backends are this process's.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime for idle connections")?;
    runtime.block_on(async {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut held = Vec::new();
        for _ in 0..count {
            held.push(answered(address).await?);
        }
        let seen = look();
        for stream in &held {
            // No port stays in TIME_WAIT.
            stream.set_zero_linger()?;
        }
        seen
    })
}

async fn answered(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(REQUEST).await?;
    let mut answer = [0; 256];
    let read = stream.read(&mut answer).await?;
    ensure!(answer[..read].starts_with(b"HTTP/1.1 200"), "no answer");
    Ok(stream)
}
