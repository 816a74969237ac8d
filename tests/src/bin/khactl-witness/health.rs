//! The port that probes ask: every question is answered with 200.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use khactl_tests::Credentials;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// For who connects and asks nothing.
const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// Begins to answer. Nobody verifies whose certificate it is.
pub(crate) fn serve(port: u16, (chain, key): Credentials) -> anyhow::Result<()> {
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let config = Arc::new(config);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("cannot listen on port {port}"))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            // Who asks wrongly is nobody's concern but its own.
            thread::spawn(move || answer(stream, config));
        }
    });
    Ok(())
}

fn answer(stream: TcpStream, config: Arc<ServerConfig>) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(ServerConnection::new(config)?, stream);
    // A question without a body fits.
    let mut question = [0; 4096];
    let _ = stream.read(&mut question)?;
    stream.write_all(ANSWER.as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(())
}
