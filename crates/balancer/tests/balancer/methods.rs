//! Who gets which connection, how many there may be, and that changing all of it disturbs nobody.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::server::{
    PATIENCE, Server, config, connect, free_port, run, run_within, until, until_healthy, who,
};
use khactl_balancer::{BackendConfig, Balancer, BalancerConfig, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Three servers behind a balancer that trusts them all.
struct Three {
    servers: [Server; 3],
    settings: BalancerConfig,
    balancer: Balancer,
    port: u16,
    _owner: JoinSet<()>,
}

const NAMES: [&str; 3] = ["a", "b", "c"];

impl Three {
    async fn start(change: impl FnOnce(&mut BalancerConfig)) -> Self {
        let mut servers = Vec::new();
        for name in NAMES {
            servers.push(Server::start(name, None).await);
        }
        let servers: [Server; 3] = servers.try_into().ok().expect("three");
        let port = free_port().await;
        let backends: Vec<BackendConfig> = servers
            .iter()
            .zip(NAMES)
            .map(|(server, name)| server.config(name))
            .collect();
        let mut settings = config(port, backends);
        change(&mut settings);
        let (balancer, owner) = run(settings.clone());
        until_healthy(&balancer, 3).await;
        Self {
            servers,
            settings,
            balancer,
            port,
            _owner: owner,
        }
    }

    /// Names of those who served so many connections one after another.
    async fn served(&self, count: usize) -> BTreeMap<String, usize> {
        let mut served = BTreeMap::new();
        for _ in 0..count {
            let name = who(&mut connect(self.port).await).await.expect("name");
            *served.entry(name).or_default() += 1;
        }
        served
    }

    /// Applies a change and waits until it shows.
    async fn change(&mut self, change: impl FnOnce(&mut BalancerConfig)) {
        change(&mut self.settings);
        self.balancer.apply(self.settings.clone());
        let wanted: Vec<_> = self.settings.backends.clone();
        until(&self.balancer, |status| {
            let present = status.backends.iter().map(|b| b.backend.clone());
            present.eq(wanted.iter().cloned())
        })
        .await;
    }
}

fn counts(of: &[(&str, usize)]) -> BTreeMap<String, usize> {
    of.iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

#[tokio::test]
async fn weights_are_kept_and_changed_without_disturbing_a_connection() {
    let mut three = Three::start(|settings| {
        settings.method = Method::WeightedRoundRobin;
        settings.backends[0].weight = 2;
    })
    .await;
    assert_eq!(
        three.served(8).await,
        counts(&[("a", 4), ("b", 2), ("c", 2)])
    );
    let mut stays = connect(three.port).await;
    let before = who(&mut stays).await.expect("name");
    three
        .change(|settings| {
            settings.backends[0].weight = 1;
            settings.backends[2].weight = 4;
        })
        .await;
    let after = three.served(60).await;
    assert!(after["c"] >= 39 && after["a"] <= 11, "{after:?}");
    three
        .change(|settings| settings.method = Method::RoundRobin)
        .await;
    assert_eq!(who(&mut stays).await.expect("goes on"), before);
    let total: u64 = three
        .balancer
        .status()
        .backends
        .iter()
        .map(|b| b.connections_total)
        .sum();
    assert_eq!(total, 69, "counters stay");
}

#[tokio::test]
async fn new_connections_go_where_the_fewest_are() {
    let three = Three::start(|settings| settings.method = Method::LeastConnections).await;
    let mut held = Vec::new();
    for _ in 0..6 {
        let mut client = connect(three.port).await;
        held.push((who(&mut client).await.expect("name"), client));
    }
    let mut names: Vec<&str> = held.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "a", "b", "b", "c", "c"]);
    held.retain(|(name, _)| name != "b");
    until(&three.balancer, |status| {
        status.backends[1].connections_open == 0
    })
    .await;
    for _ in 0..2 {
        let mut client = connect(three.port).await;
        assert_eq!(who(&mut client).await.expect("name"), "b");
        held.push(("b".to_owned(), client));
    }
}

async fn connect_from(source: [u8; 4], port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("socket");
    socket
        .bind(SocketAddr::from((source, 0)))
        .expect("an address of loopback");
    let target = SocketAddr::from(([127, 0, 0, 1], port));
    socket.connect(target).await.expect("connects")
}

#[tokio::test]
async fn a_client_keeps_its_backend_while_others_come_and_go() {
    let mut three = Three::start(|settings| settings.method = Method::SourceHash).await;
    let mut homes: BTreeMap<u8, String> = BTreeMap::new();
    for last in 1..=40 {
        let mut client = connect_from([127, 0, 1, last], three.port).await;
        homes.insert(last, who(&mut client).await.expect("name"));
    }
    for name in NAMES {
        assert!(homes.values().any(|home| home == name), "{homes:?}");
    }
    three
        .change(|settings| drop(settings.backends.remove(1)))
        .await;
    for (last, home) in &homes {
        let mut client = connect_from([127, 0, 1, *last], three.port).await;
        let now = who(&mut client).await.expect("name");
        assert!(now == *home || home == "b", "{last}: {home} to {now}");
        assert_ne!(now, "b");
    }
}

#[tokio::test]
async fn clients_that_come_by_loopback_get_the_backend_of_this_host_while_it_is_well() {
    let three = Three::start(|settings| settings.backends[1].local = true).await;
    assert_eq!(three.served(5).await, counts(&[("b", 5)]));
    three.servers[1]
        .ready
        .store(false, std::sync::atomic::Ordering::SeqCst);
    until_healthy(&three.balancer, 2).await;
    assert_eq!(three.served(4).await, counts(&[("a", 2), ("c", 2)]));
}

#[tokio::test]
async fn a_backend_that_drains_keeps_what_it_has_and_gets_nothing_new() {
    let mut three = Three::start(|_| {}).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut client = connect(three.port).await;
        held.push((who(&mut client).await.expect("name"), client));
    }
    three
        .change(|settings| settings.backends[0].draining = true)
        .await;
    assert_eq!(three.served(6).await, counts(&[("b", 3), ("c", 3)]));
    for (name, client) in &mut held {
        assert_eq!(who(client).await.expect("goes on"), *name);
    }
    drop(held);
    until(&three.balancer, |status| {
        status.backends[0].connections_open == 0
    })
    .await;
    three
        .change(|settings| settings.backends[0].draining = false)
        .await;
    assert_eq!(three.served(6).await["a"], 2);
}

/// Whether a server has ended this connection.
async fn is_ended(client: &mut TcpStream) -> bool {
    let mut byte = [0];
    !matches!(
        timeout(PATIENCE, client.read(&mut byte))
            .await
            .expect("ends"),
        Ok(1..)
    )
}

#[tokio::test]
async fn clients_that_say_nothing_are_ended_the_oldest_first_when_there_are_too_many() {
    let three = Three::start(|settings| settings.limits.half_open = 2).await;
    let mut oldest = connect(three.port).await;
    until(&three.balancer, |status| status.half_open == 1).await;
    let mut second = connect(three.port).await;
    until(&three.balancer, |status| status.half_open == 2).await;
    let third = connect(three.port).await;
    assert!(is_ended(&mut oldest).await);
    until(&three.balancer, |status| {
        status.half_open == 2 && status.half_open_ended == 1
    })
    .await;
    assert!(who(&mut second).await.is_ok(), "it may still speak");
    until(&three.balancer, |status| status.half_open == 1).await;
    drop(third);
    until(&three.balancer, |status| status.connections == 1).await;
}

#[tokio::test]
async fn a_client_that_says_nothing_for_too_long_is_reset_and_one_that_spoke_may_be_silent_then() {
    let three = Three::start(|settings| {
        settings.limits.half_open_time = Duration::from_millis(200);
    })
    .await;
    let mut spoke = connect(three.port).await;
    let name = who(&mut spoke).await.expect("name");
    let mut silent = connect(three.port).await;
    assert!(is_ended(&mut silent).await);
    assert_eq!(three.balancer.status().half_open_ended, 1);
    assert_eq!(who(&mut spoke).await.expect("goes on"), name);
}

#[tokio::test]
async fn no_more_clients_are_served_at_once_than_the_limit_says_and_the_next_one_waits() {
    let three = Three::start(|settings| settings.limits.connections = 2).await;
    let mut first = connect(three.port).await;
    let mut second = connect(three.port).await;
    assert!(who(&mut first).await.is_ok());
    assert!(who(&mut second).await.is_ok());
    let mut third = connect(three.port).await;
    third
        .write_all(b"who\n")
        .await
        .expect("the kernel takes it");
    until(&three.balancer, |status| {
        let told = status.problems.iter();
        told.clone().any(|p| p.contains("limits.connections")) && status.connections == 2
    })
    .await;
    drop(first);
    let mut name = [0; 1];
    timeout(PATIENCE, third.read_exact(&mut name))
        .await
        .expect("in time")
        .expect("served");
    drop((second, third));
    until(&three.balancer, |status| status.problems.is_empty()).await;
}

#[tokio::test]
async fn no_more_clients_are_served_at_once_than_there_are_descriptors_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = free_port().await;
    let backend = BackendConfig {
        host: "only".to_owned(),
        address: listener.local_addr().expect("address"),
        weight: 1,
        local: false,
        draining: false,
    };
    let (balancer, _owner) = run_within(260, config(port, vec![backend]));
    until(&balancer, |status| status.connections_max == 2).await;
    let _first = connect(port).await;
    let _second = connect(port).await;
    let _third = connect(port).await;
    until(&balancer, |status| {
        let told = status.problems.iter().any(|p| p.contains("open files"));
        told && status.connections == 2
    })
    .await;
}

#[tokio::test]
async fn with_the_proxy_protocol_backends_hear_of_the_client_first_and_of_checks_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = free_port().await;
    let backend = BackendConfig {
        host: "told".to_owned(),
        address: listener.local_addr().expect("address"),
        weight: 1,
        local: false,
        draining: false,
    };
    let mut settings = config(port, vec![backend]);
    settings.proxy_protocol = true;
    let (_balancer, _owner) = run(settings);
    let (mut check, _) = listener.accept().await.expect("a check");
    let mut header = [0; 16 + 4];
    check.read_exact(&mut header).await.expect("its header");
    assert_eq!(header[..16], *b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    assert_eq!(header[16..], *b"GET ");

    let mut client = connect(port).await;
    client.write_all(b"hello").await.expect("written");
    let local = client.local_addr().expect("address");
    let mut told = [0; 28 + 5];
    loop {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        stream.read_exact(&mut told[..20]).await.expect("a header");
        if told[12] == 0x21 {
            stream.read_exact(&mut told[20..]).await.expect("the rest");
            break;
        }
    }
    assert_eq!(
        told[12..24],
        [0x21, 0x11, 0, 12, 127, 0, 0, 1, 127, 0, 0, 1]
    );
    assert_eq!(told[24..26], local.port().to_be_bytes());
    assert_eq!(told[26..28], port.to_be_bytes());
    assert_eq!(told[28..], *b"hello");
}
