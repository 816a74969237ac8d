//! How a connection ends on one side is how it ends on the other: a break is no orderly end.

use std::io;
use std::net::SocketAddr;

use crate::server::{PATIENCE, config, connect, free_port, run, until};
use khactl_balancer::{BackendConfig, Balancer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A balancer before one backend, whose connections the test takes itself.
struct Between {
    port: u16,
    backend: TcpListener,
    balancer: Balancer,
    _owner: JoinSet<()>,
}

impl Between {
    async fn start() -> Self {
        let backend = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = backend.local_addr().expect("address");
        let port = free_port().await;
        let mut settings = config(
            port,
            vec![BackendConfig {
                host: "b".to_owned(),
                address,
                weight: 1,
                local: false,
                draining: false,
            }],
        );
        // No check ever speaks: each connection is a client's.
        "not a path".clone_into(&mut settings.health.path);
        let (balancer, owner) = run(settings);
        Self {
            port,
            backend,
            balancer,
            _owner: owner,
        }
    }

    /// A client and its backend's end, which has heard `hi`.
    async fn pair(&self) -> (TcpStream, TcpStream) {
        let mut client = connect(self.port).await;
        client.write_all(b"hi").await.expect("written");
        let accepted = timeout(PATIENCE, self.backend.accept()).await;
        let (mut server, _) = accepted.expect("in time").expect("accepted");
        let mut heard = [0; 2];
        server.read_exact(&mut heard).await.expect("heard");
        (client, server)
    }

    /// The same, and the backend has answered.
    async fn answered_pair(&self) -> (TcpStream, TcpStream) {
        let (mut client, mut server) = self.pair().await;
        server.write_all(b"ok").await.expect("written");
        let mut answer = [0; 2];
        client.read_exact(&mut answer).await.expect("answered");
        (client, server)
    }
}

fn break_off(stream: TcpStream) {
    stream.set_zero_linger().expect("set");
    drop(stream);
}

async fn ended(stream: &mut TcpStream) -> io::Result<usize> {
    let mut rest = [0; 16];
    timeout(PATIENCE, stream.read(&mut rest))
        .await
        .expect("ends")
}

async fn is_reset(stream: &mut TcpStream) {
    let error = ended(stream).await.expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

/// The machine's sockets of that peer that wait out their time, by the kernel's table.
fn waiting_out(peer: SocketAddr) -> usize {
    const TIME_WAIT: &str = "06";
    let wanted = format!("0100007F:{:04X}", peer.port());
    std::fs::read_to_string("/proc/net/tcp")
        .expect("read")
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.get(2) == Some(&wanted.as_str()) && words.get(3) == Some(&TIME_WAIT))
        .count()
}

#[tokio::test]
async fn a_client_that_breaks_off_is_broken_off_for_its_backend_too() {
    let between = Between::start().await;
    let (client, mut server) = between.answered_pair().await;
    break_off(client);
    is_reset(&mut server).await;
}

#[tokio::test]
async fn a_client_that_breaks_off_unanswered_is_broken_off_for_its_backend_too() {
    let between = Between::start().await;
    let (client, mut server) = between.pair().await;
    break_off(client);
    is_reset(&mut server).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_taken_for_a_whole_one() {
    let between = Between::start().await;
    let (mut client, server) = between.answered_pair().await;
    break_off(server);
    is_reset(&mut client).await;
}

#[tokio::test]
async fn a_backend_that_breaks_off_unanswered_breaks_off_for_the_client() {
    let between = Between::start().await;
    let (mut client, server) = between.pair().await;
    break_off(server);
    is_reset(&mut client).await;
}

#[tokio::test]
async fn an_orderly_end_stays_one_both_ways() {
    let between = Between::start().await;
    let (client, mut server) = between.answered_pair().await;
    drop(client);
    assert_eq!(ended(&mut server).await.expect("an end"), 0);
    let (mut client, server) = between.answered_pair().await;
    drop(server);
    assert_eq!(ended(&mut client).await.expect("an end"), 0);
}

/// Ports towards one backend are 28,000, and one that waits is away for a minute: clients that come and break
/// off a thousand times a second would leave none.
#[tokio::test]
async fn clients_that_break_off_use_up_no_port() {
    let between = Between::start().await;
    for _ in 0..50 {
        let (client, mut server) = between.answered_pair().await;
        break_off(client);
        let _however = ended(&mut server).await;
    }
    until(&between.balancer, |status| status.connections == 0).await;
    let backend = between.backend.local_addr().expect("address");
    assert_eq!(waiting_out(backend), 0);
}
