//! The balancer between real sockets on loopback.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::server::{
    PATIENCE, Server, config, connect, connect_to, free_port, run, until, until_healthy, who,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

#[tokio::test]
async fn connections_go_to_all_healthy_backends_in_turn() {
    let servers = [
        Server::start("a", None).await,
        Server::start("b", None).await,
        Server::start("c", None).await,
    ];
    let port = free_port().await;
    let backends = servers.iter().map(|s| s.config("host")).collect();
    let (balancer, _owner) = run(config(port, backends));
    until_healthy(&balancer, 3).await;
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(who(&mut connect(port).await).await.expect("name"));
    }
    assert_eq!(seen[..3], seen[3..], "in turn: {seen:?}");
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 3, "{seen:?}");
    let total: u64 = balancer
        .status()
        .backends
        .iter()
        .map(|b| b.connections_total)
        .sum();
    assert_eq!(total, 6);
}

#[tokio::test]
async fn a_refused_connect_tries_the_next_backend_at_once() {
    let alive = Server::start("alive", None).await;
    let port = free_port().await;
    let mut dead = alive.config("dead");
    dead.address = SocketAddr::from(([127, 0, 0, 1], free_port().await));
    let mut settings = config(port, vec![dead, alive.config("alive")]);
    // No check ever speaks: all are tried.
    settings.health.path = "not a path".to_owned();
    let (balancer, _owner) = run(settings);
    for _ in 0..4 {
        assert_eq!(who(&mut connect(port).await).await.expect("name"), "alive");
    }
    let status = balancer.status();
    // Once: from then on it comes last.
    assert_eq!(status.backends[0].connects_failed, 1);
    assert_eq!(status.backends[1].connections_total, 4);
    assert!(status.problems[0].contains("is not a path"), "{status:?}");
}

#[tokio::test]
async fn an_unready_backend_loses_its_connections_and_gets_no_new_ones() {
    let (a, b) = (
        Server::start("a", None).await,
        Server::start("b", None).await,
    );
    let port = free_port().await;
    let (balancer, _owner) = run(config(port, vec![a.config("a"), b.config("b")]));
    until_healthy(&balancer, 2).await;
    let mut to_a = connect(port).await;
    let mut to_b = connect(port).await;
    if who(&mut to_a).await.expect("name") == "b" {
        std::mem::swap(&mut to_a, &mut to_b);
    }
    assert_eq!(who(&mut to_b).await.expect("name"), "b");
    a.ready.store(false, Ordering::SeqCst);
    let mut byte = [0];
    let ended = timeout(PATIENCE, to_a.read(&mut byte)).await.expect("ends");
    assert_eq!(
        ended.expect_err("a reset, not an end of file").kind(),
        std::io::ErrorKind::ConnectionReset
    );
    assert_eq!(who(&mut to_b).await.expect("goes on"), "b");
    for _ in 0..4 {
        assert_eq!(who(&mut connect(port).await).await.expect("name"), "b");
    }
    assert!(balancer.status().backends[0].reason.contains("500"));
    a.ready.store(true, Ordering::SeqCst);
    until_healthy(&balancer, 2).await;
}

#[tokio::test]
async fn with_no_healthy_backend_connections_stay_and_all_are_tried() {
    let a = Server::start("a", None).await;
    let port = free_port().await;
    let (balancer, _owner) = run(config(port, vec![a.config("a")]));
    until_healthy(&balancer, 1).await;
    let mut old = connect(port).await;
    assert_eq!(who(&mut old).await.expect("name"), "a");
    a.ready.store(false, Ordering::SeqCst);
    until_healthy(&balancer, 0).await;
    assert_eq!(who(&mut old).await.expect("stays"), "a");
    assert_eq!(who(&mut connect(port).await).await.expect("tried"), "a");
    assert!(!*balancer.any_healthy().borrow());
}

#[tokio::test]
async fn a_killed_backend_is_noticed_and_found_again_at_the_same_address() {
    let (a, b) = (
        Server::start("a", None).await,
        Server::start("b", None).await,
    );
    let port = free_port().await;
    let (balancer, _owner) = run(config(port, vec![a.config("a"), b.config("b")]));
    until_healthy(&balancer, 2).await;
    let address = a.address;
    a.kill().await;
    until_healthy(&balancer, 1).await;
    assert_eq!(who(&mut connect(port).await).await.expect("name"), "b");
    let _again = Server::start_at(address, "a", None).await;
    until_healthy(&balancer, 2).await;
}

#[tokio::test]
async fn a_half_closed_client_still_gets_its_answer() {
    let a = Server::start("a", None).await;
    let port = free_port().await;
    let (balancer, _owner) = run(config(port, vec![a.config("a")]));
    let mut client = connect(port).await;
    let sent = vec![7_u8; 3 * 1024 * 1024];
    let (mut reader, mut writer) = client.split();
    let mut received = Vec::new();
    let (wrote, read) = tokio::join!(
        async {
            writer.write_all(&sent).await?;
            writer.shutdown().await
        },
        timeout(PATIENCE, reader.read_to_end(&mut received)),
    );
    wrote.expect("written");
    read.expect("in time").expect("read");
    assert_eq!(received.len(), sent.len());
    until(&balancer, |status| status.connections == 0).await;
    let backend = &balancer.status().backends[0];
    assert_eq!(backend.bytes_to_backend, sent.len() as u64);
    assert_eq!(backend.bytes_to_client, sent.len() as u64);
    assert_eq!(backend.connections_open, 0);
}

#[tokio::test]
async fn a_new_configuration_keeps_the_connections_of_backends_that_stay() {
    let (a, b) = (
        Server::start("a", None).await,
        Server::start("b", None).await,
    );
    let port = free_port().await;
    let both = config(port, vec![a.config("a"), b.config("b")]);
    let (balancer, _owner) = run(both.clone());
    until_healthy(&balancer, 2).await;
    let mut to_a = connect(port).await;
    let mut to_b = connect(port).await;
    if who(&mut to_a).await.expect("name") == "b" {
        std::mem::swap(&mut to_a, &mut to_b);
    }
    let other_port = free_port().await;
    let mut only_b = both;
    only_b.backends.remove(0);
    only_b.listeners = vec![SocketAddr::from(([127, 0, 0, 1], other_port))];
    only_b.health.period = Duration::from_millis(70);
    balancer.apply(only_b);
    let mut byte = [0];
    let ended = timeout(PATIENCE, to_a.read(&mut byte)).await.expect("ends");
    assert!(ended.is_err(), "a removed backend's connection is reset");
    assert_eq!(
        who(&mut connect(other_port).await).await.expect("name"),
        "b"
    );
    assert_eq!(who(&mut to_b).await.expect("goes on"), "b");
    assert_eq!(balancer.status().backends[0].connections_total, 2);
}

#[tokio::test]
async fn a_listener_for_an_address_of_another_host_stands_ready() {
    let a = Server::start("a", None).await;
    let port = free_port().await;
    let mut settings = config(port, vec![a.config("a")]);
    settings
        .listeners
        .push(SocketAddr::from(([192, 0, 2, 77], port)));
    let (balancer, _owner) = run(settings);
    until_healthy(&balancer, 1).await;
    assert_eq!(who(&mut connect(port).await).await.expect("name"), "a");
    assert_eq!(balancer.status().problems, Vec::<String>::new());
}

#[tokio::test]
async fn a_taken_port_is_a_problem_until_it_is_free() {
    let a = Server::start("a", None).await;
    let taken = Server::start("taken", None).await;
    let port = taken.address.port();
    let (balancer, _owner) = run(config(port, vec![a.config("a")]));
    until(&balancer, |status| {
        status
            .problems
            .iter()
            .any(|p| p.contains(&port.to_string()) && p.contains("in use"))
    })
    .await;
    taken.kill().await;
    until(&balancer, |status| status.problems.is_empty()).await;
    assert_eq!(who(&mut connect(port).await).await.expect("name"), "a");
}

#[tokio::test]
async fn clients_of_an_address_that_leaves_are_reset_and_those_of_another_stay() {
    let a = Server::start("a", None).await;
    let port = free_port().await;
    let mut settings = config(port, vec![a.config("a")]);
    settings
        .listeners
        .push(SocketAddr::from(([127, 0, 0, 2], port)));
    let (balancer, _owner) = run(settings);
    until_healthy(&balancer, 1).await;
    let mut stays = connect(port).await;
    assert_eq!(who(&mut stays).await.expect("name"), "a");
    let mut leaves = tokio::net::TcpStream::connect(("127.0.0.2", port))
        .await
        .expect("connects");
    assert_eq!(who(&mut leaves).await.expect("name"), "a");
    balancer.reset_clients_of([127, 0, 0, 2].into());
    let mut byte = [0];
    assert!(
        timeout(PATIENCE, leaves.read(&mut byte))
            .await
            .expect("ends")
            .is_err()
    );
    assert_eq!(who(&mut stays).await.expect("goes on"), "a");
}

#[tokio::test]
async fn an_address_that_is_parted_from_has_no_clients_until_it_is_served_again() {
    let a = Server::start("a", None).await;
    let port = free_port().await;
    let mut settings = config(port, vec![a.config("a")]);
    settings
        .listeners
        .push(SocketAddr::from(([127, 0, 0, 2], port)));
    let (balancer, _owner) = run(settings.clone());
    until_healthy(&balancer, 1).await;
    let mut stays = connect(port).await;
    assert_eq!(who(&mut stays).await.expect("name"), "a");
    let mut answered = connect_to([127, 0, 0, 2], port).await;
    assert_eq!(who(&mut answered).await.expect("name"), "a");
    let mut silent = connect_to([127, 0, 0, 2], port).await;
    let (tell, told) = tokio::sync::oneshot::channel();
    let parting = balancer.part(vec![[127, 0, 0, 2].into()], move || {
        tell.send(()).expect("somebody listens");
    });
    timeout(PATIENCE, told)
        .await
        .expect("in time")
        .expect("told");
    for client in [&mut answered, &mut silent] {
        let mut byte = [0];
        let ended = timeout(PATIENCE, client.read(&mut byte))
            .await
            .expect("ends");
        assert_eq!(
            ended.expect_err("a reset, not an end of file").kind(),
            std::io::ErrorKind::ConnectionReset
        );
    }
    // Nor does a change of something else bring them back.
    settings.health.period = Duration::from_millis(70);
    balancer.apply(settings);
    assert_eq!(who(&mut stays).await.expect("goes on"), "a");
    let refused = tokio::net::TcpStream::connect(("127.0.0.2", port)).await;
    assert_eq!(
        refused.expect_err("nobody listens").kind(),
        std::io::ErrorKind::ConnectionRefused
    );
    drop(parting);
    let mut comes = connect_to([127, 0, 0, 2], port).await;
    assert_eq!(who(&mut comes).await.expect("name"), "a");
    assert_eq!(who(&mut stays).await.expect("goes on"), "a");
}

#[tokio::test]
async fn draining_lets_connections_end_and_resets_those_that_do_not() {
    let a = Server::start("a", None).await;
    let port = free_port().await;
    let (balancer, mut owner) = run(config(port, vec![a.config("a")]));
    let mut ends = connect(port).await;
    let mut lingers = connect(port).await;
    assert_eq!(who(&mut ends).await.expect("name"), "a");
    assert_eq!(who(&mut lingers).await.expect("name"), "a");
    balancer.drain(Duration::from_millis(300));
    assert_eq!(who(&mut ends).await.expect("goes on"), "a");
    drop(ends);
    let mut byte = [0];
    assert!(
        timeout(PATIENCE, lingers.read(&mut byte))
            .await
            .expect("ends")
            .is_err()
    );
    timeout(PATIENCE, owner.join_next())
        .await
        .expect("the task ends")
        .expect("it ran")
        .expect("without panic");
    assert!(
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
    );
}
