//! A watch says nothing and waits: what it hears when the VIP moves on purpose. By its own it would never notice.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::Duration;

use crate::failover::{ALL, holder, three};
use crate::network::{Network, feed_for, until};

const CLIENTS: usize = 5;
const MOVES: usize = 3;

/// Connects clients that then only listen, moves the VIP away from its holder, and counts those who are reset.
fn told(network: &mut Network, go: impl FnOnce(&mut Network, u64)) -> usize {
    let from = holder(network);
    let mut clients: Vec<TcpStream> = Vec::new();
    until("all clients are served", || {
        clients.extend(network.connect_to_vip().map(|(stream, _)| stream));
        clients.len() == CLIENTS
    });
    go(network, from);
    clients.iter().filter(|client| is_reset(client)).count()
}

fn is_reset(mut client: &TcpStream) -> bool {
    client
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("set");
    let ended = client.read(&mut [0]);
    ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

/// The lease waits for the balancer for some milliseconds only, and on a busy machine that may be too short for one of
/// the moves.
fn assert_most(told: usize) {
    assert!(
        told > CLIENTS * MOVES / 2,
        "only {told} of {} clients were told",
        CLIENTS * MOVES
    );
}

#[test]
fn clients_that_only_listen_are_reset_when_the_vip_is_handed_over() {
    let mut network = three("told");
    let mut reset = 0;
    for _ in 0..MOVES {
        reset += told(&mut network, |network, from| {
            assert!(network.host(from).hand_over(from % 3 + 1));
        });
    }
    assert_most(reset);
    until("the next holder serves", || network.ask_vip().is_some());
}

#[test]
fn clients_that_only_listen_are_reset_when_the_holders_khavip_is_ended() {
    let mut network = three("ends");
    let mut reset = 0;
    for _ in 0..MOVES {
        reset += told(&mut network, |network, from| {
            assert_eq!(network.host(from).terminate(), Some(0));
            network.host(from).start();
            network.host(from).feed(feed_for(from, &ALL));
        });
    }
    assert_most(reset);
    until("the next holder serves", || network.ask_vip().is_some());
}
