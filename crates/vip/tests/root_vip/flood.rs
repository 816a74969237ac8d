//! What strangers may send: it is counted, and costs a holder nothing.

use std::net::{SocketAddr, UdpSocket};

use crate::ear::flood_with_claims;
use crate::network::{Network, VIP, feed_for, until};

const ALL: [u64; 3] = [1, 2, 3];

/// Sends datagrams that are none of the lease's to every host: empty, truncated, of the right length, oversized.
fn garbage() -> u64 {
    const WHOLE: usize = khactl_lease::DATAGRAM_LEN;
    const LENGTHS: [usize; 6] = [0, 1, WHOLE - 1, WHOLE, WHOLE + 1, 9_000];
    const ROUNDS: usize = 500;
    let socket = UdpSocket::bind("0.0.0.0:0").expect("bound");
    let bytes: Vec<u8> = (0..9_000_u32).map(|byte| byte.to_le_bytes()[0]).collect();
    for _ in 0..ROUNDS {
        for id in ALL {
            let to: SocketAddr = format!("10.99.0.1{id}:9443").parse().expect("address");
            for length in LENGTHS {
                socket.send_to(&bytes[..length], to).expect("sent");
            }
        }
    }
    (LENGTHS.len() * ROUNDS) as u64
}

#[test]
fn floods_of_datagrams_and_of_claims_cost_a_holder_nothing() {
    let mut network = Network::new("flod", 3);
    for id in ALL {
        network.host(id).serve();
        network.host(id).start();
        network.host(id).feed(feed_for(id, &ALL));
    }
    let mut holder = 0;
    until("a holder", || {
        let found = network.hosts.iter().find(|host| host.is_holding());
        holder = found.map_or(0, |host| host.id);
        holder != 0
    });
    let sent = network.client(garbage);
    // What finds a full buffer is dropped by the kernel and counted by nobody.
    until("most of it to be counted", || {
        let hosts = network.hosts.iter();
        hosts
            .clone()
            .all(|host| host.status().lease.expect("lease").refused > sent / 10)
    });
    let stranger = network.hosts.iter().find(|host| host.id != holder);
    flood_with_claims(
        stranger.expect("three hosts"),
        VIP,
        "02:00:00:00:00:66",
        20_000,
    );
    until("a client is served", || network.ask_vip().is_some());
    for host in &network.hosts {
        let lease = host.status().lease.expect("lease");
        assert_eq!((lease.holder_id, lease.ended), (holder, 0), "{lease:?}");
        assert_eq!(lease.acquired, u64::from(host.id == holder));
    }
}
