//! Backends that fail between two checks: what the balancer can mend, a client does not notice.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::authority::Authority;
use crate::server::{PATIENCE, Server, config, connect, free_port, run, until, until_healthy, who};
use khactl_balancer::{BackendConfig, BalancerConfig, Scheme};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A backend whose kernel drops every SYN, as if its host were lost: its queue is full for good.
struct Silent {
    address: SocketAddr,
    _listener: Socket,
    _queue: Vec<Socket>,
}

impl Silent {
    fn start() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("address");
        listener.bind(&any.into()).expect("bind");
        listener.listen(0).expect("listen");
        let address = listener.local_addr().expect("address");
        let queue = (0..4)
            .map(|_| {
                let client = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
                client.set_nonblocking(true).expect("set");
                // The first ones fill the queue, the others get no answer.
                let _in_progress = client.connect(&address);
                client
            })
            .collect();
        Self {
            address: address.as_socket().expect("of IP"),
            _listener: listener,
            _queue: queue,
        }
    }
}

/// A backend that takes connections, hears the first words, and resets: a process that dies.
struct Dying {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Dying {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("accept");
                let mut heard = [0; 64];
                let _however_much = stream.read(&mut heard).await;
                stream.set_zero_linger().expect("set");
            }
        });
        Self {
            address,
            _tasks: tasks,
        }
    }
}

fn at(address: SocketAddr, host: &str) -> BackendConfig {
    BackendConfig {
        host: host.to_owned(),
        address,
        weight: 1,
        local: false,
        draining: false,
    }
}

/// No check ever speaks: all are tried, and nobody but clients learns anything of them.
fn unchecked(port: u16, backends: Vec<BackendConfig>) -> BalancerConfig {
    let mut settings = config(port, backends);
    "not a path".clone_into(&mut settings.health.path);
    settings
}

fn of_tls(mut settings: BalancerConfig) -> BalancerConfig {
    settings.health.scheme = Scheme::Https { ca_pem: Vec::new() };
    settings
}

#[tokio::test]
async fn a_backend_that_says_nothing_to_a_connect_is_overtaken_once_and_then_tried_last() {
    let silent = Silent::start();
    let alive = Server::start("alive", None).await;
    let port = free_port().await;
    let backends = vec![at(silent.address, "silent"), alive.config("alive")];
    let (balancer, _owner) = run(unchecked(port, backends));
    for _ in 0..6 {
        assert_eq!(who(&mut connect(port).await).await.expect("name"), "alive");
    }
    let status = balancer.status();
    assert!(status.backends[0].suspect, "{status:?}");
    assert_eq!(status.backends[0].connects_failed, 1);
    assert_eq!(status.backends[0].connections_open, 0);
    assert!(!status.backends[1].suspect);
    assert_eq!(status.backends[1].connections_total, 6);
}

#[tokio::test]
async fn a_client_of_silent_backends_alone_is_reset_in_the_end() {
    let (first, second) = (Silent::start(), Silent::start());
    let port = free_port().await;
    let backends = vec![at(first.address, "first"), at(second.address, "second")];
    let (balancer, _owner) = run(unchecked(port, backends));
    let mut client = connect(port).await;
    let ended = timeout(PATIENCE, client.read_u8()).await.expect("ends");
    assert_eq!(
        ended.expect_err("a reset").kind(),
        std::io::ErrorKind::ConnectionReset
    );
    until(&balancer, |status| status.connections == 0).await;
    let failed = balancer.status().backends;
    assert!(failed.iter().all(|backend| backend.connects_failed == 1));
}

#[tokio::test]
async fn a_connection_that_a_backend_ends_unanswered_goes_on_with_the_next_one() {
    let dying = Dying::start().await;
    let alive = Server::start("alive", None).await;
    let port = free_port().await;
    let backends = vec![at(dying.address, "dying"), alive.config("alive")];
    let (balancer, _owner) = run(of_tls(unchecked(port, backends)));
    for _ in 0..4 {
        assert_eq!(who(&mut connect(port).await).await.expect("name"), "alive");
    }
    let status = balancer.status();
    assert_eq!(status.backends[0].connections_unanswered, 1);
    assert!(status.backends[0].suspect, "{status:?}");
    assert_eq!(status.backends[1].connections_total, 4);
    assert_eq!(status.backends[1].bytes_to_backend, 16);
}

#[tokio::test]
async fn what_may_have_been_acted_upon_is_not_said_twice() {
    let dying = Dying::start().await;
    let alive = Server::start("alive", None).await;
    let port = free_port().await;
    let backends = vec![at(dying.address, "dying"), alive.config("alive")];
    let (balancer, _owner) = run(unchecked(port, backends));
    let mut client = connect(port).await;
    client.write_all(b"create\n").await.expect("written");
    let mut answer = Vec::new();
    // An end of file, or a reset: no answer in any case.
    let _either = timeout(PATIENCE, client.read_to_end(&mut answer))
        .await
        .expect("ends");
    assert_eq!(answer, b"");
    let status = balancer.status();
    assert_eq!(status.backends[0].connections_unanswered, 1);
    assert_eq!(status.backends[1].connections_total, 0);
}

#[tokio::test]
async fn a_client_that_waits_for_a_hung_backend_goes_on_with_another_once_checks_condemn_it() {
    let authority = Authority::new();
    // Connected by its kernel, never answered.
    let hung = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = hung.local_addr().expect("address");
    let alive = Server::start("alive", Some(authority.acceptor())).await;
    let port = free_port().await;
    let mut settings = of_tls(config(port, vec![at(address, "hung")]));
    settings.health.timeout = Duration::from_millis(100);
    let (balancer, _owner) = run(settings.clone());
    let stream = connect(port).await;
    let greeted = authority.greet(stream);
    tokio::pin!(greeted);
    let waits = until(&balancer, |status| {
        status.backends[0].connections_open == 1 && !status.backends[0].reason.is_empty()
    });
    tokio::select! {
        _ = &mut greeted => panic!("somebody answered"),
        () = waits => {}
    }
    settings.backends.push(alive.config("alive"));
    balancer.apply(settings);
    let mut stream = timeout(PATIENCE, greeted).await.expect("in time");
    stream.write_all(b"who\n").await.expect("written");
    let mut name = [0; 5];
    stream.read_exact(&mut name).await.expect("answered");
    assert_eq!(&name, b"alive");
    assert_eq!(balancer.status().backends[0].connections_unanswered, 1);
}

#[tokio::test]
async fn a_backend_that_falls_silent_is_left_before_any_check_condemns_it() {
    let authority = Authority::new();
    let first = Server::start("first", Some(authority.acceptor())).await;
    let alive = Server::start("alive", Some(authority.acceptor())).await;
    let port = free_port().await;
    let backends = vec![first.config("first"), alive.config("alive")];
    let mut settings = of_tls(config(port, backends));
    // After the first ones no check has a word in this.
    settings.health.period = Duration::from_hours(1);
    settings.health.timeout = Duration::from_hours(1);
    let (balancer, _owner) = run(settings);
    until_healthy(&balancer, 2).await;
    // Its kernel connects, and nobody is there any more.
    let address = first.address;
    first.kill().await;
    let _silent = TcpListener::bind(address).await.expect("bind");
    for _ in 0..3 {
        let mut stream = timeout(PATIENCE, authority.greet(connect(port).await))
            .await
            .expect("somebody answers");
        stream.write_all(b"who\n").await.expect("written");
        let mut name = [0; 5];
        stream.read_exact(&mut name).await.expect("answered");
        assert_eq!(&name, b"alive");
    }
    let status = balancer.status();
    assert!(status.backends[0].suspect, "{status:?}");
    assert_eq!(status.backends[0].connections_total, 1);
    assert_eq!(status.backends[0].connections_unanswered, 1);
}

#[tokio::test]
async fn a_backend_that_leaves_a_client_waiting_is_tried_last() {
    // Connected by its kernel, never answered.
    let hung = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = hung.local_addr().expect("address");
    let alive = Server::start("alive", None).await;
    let port = free_port().await;
    let backends = vec![at(address, "hung"), alive.config("alive")];
    let (balancer, _owner) = run(unchecked(port, backends));
    let mut waits = connect(port).await;
    waits.write_all(b"who\n").await.expect("written");
    until(&balancer, |status| {
        status.backends.first().is_some_and(|first| first.suspect)
    })
    .await;
    for _ in 0..4 {
        assert_eq!(who(&mut connect(port).await).await.expect("name"), "alive");
    }
    assert_eq!(balancer.status().backends[0].connections_total, 1);
}

#[tokio::test]
async fn a_connection_that_comes_to_nothing_has_its_backend_checked_at_once() {
    let moody = Server::start("moody", None).await;
    let alive = Server::start("alive", None).await;
    let port = free_port().await;
    let mut settings = config(port, vec![moody.config("moody"), alive.config("alive")]);
    settings.health.period = Duration::from_hours(1);
    settings.health.fall = 1;
    let (balancer, _owner) = run(settings);
    until_healthy(&balancer, 2).await;
    moody.ready.store(false, Ordering::SeqCst);
    // Nobody looks for an hour, unless there is a reason to.
    for _ in 0..2 {
        let mut client = connect(port).await;
        client.write_all(b"die\n").await.expect("written");
        let mut answer = Vec::new();
        let _either = timeout(PATIENCE, client.read_to_end(&mut answer)).await;
    }
    until(&balancer, |status| !status.backends[0].healthy).await;
    // The other one's check passes.
    until(&balancer, |status| !status.backends[1].suspect).await;
    assert!(balancer.status().backends[1].healthy);
}

#[tokio::test]
async fn a_suspect_is_cleared_by_a_check_that_passes() {
    let alive = Server::start("alive", None).await;
    let moody = Server::start("moody", None).await;
    let port = free_port().await;
    let mut settings = config(port, vec![moody.config("moody"), alive.config("alive")]);
    settings.health.period = Duration::from_millis(300);
    let (balancer, _owner) = run(of_tls(settings.clone()));
    until(&balancer, |status| status.backends.len() == 2).await;
    until(&balancer, |status| status.backends[0].suspect).await;
    // Speaking TLS to them was the mistake.
    balancer.apply(settings);
    until(&balancer, |status| {
        status.backends.iter().all(|b| b.healthy && !b.suspect)
    })
    .await;
    let mut names = Vec::new();
    for _ in 0..2 {
        let mut client: TcpStream = connect(port).await;
        names.push(who(&mut client).await.expect("name"));
    }
    names.sort();
    assert_eq!(names, ["alive", "moody"]);
}
