//! The peers' entries in the kernel's neighbour table: permanent while khavip runs, and as the peers really are.

use crate::network::{Host, Network, feed_for, until};

const ALL: [u64; 3] = [1, 2, 3];

/// The permanent neighbours, as address and hardware address.
fn permanent(host: &Host) -> Vec<(String, String)> {
    let shown = host.ip("neigh show nud permanent dev eth0");
    let entries = shown.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let place = words.iter().position(|word| *word == "lladdr")?;
        Some((words[0].to_owned(), words[place + 1].to_owned()))
    });
    let mut entries: Vec<_> = entries.collect();
    entries.sort();
    entries
}

fn three(name: &'static str) -> Network {
    let mut network = Network::new(name, 3);
    for id in ALL {
        network.host(id).serve();
        network.host(id).start();
        network.host(id).feed(feed_for(id, &ALL));
    }
    network
}

fn expected(network: &Network, ids: &[u64]) -> Vec<(String, String)> {
    let hosts = network.hosts.iter().filter(|host| ids.contains(&host.id));
    hosts
        .map(|host| (format!("10.99.0.1{}", host.id), host.mac()))
        .collect()
}

#[test]
fn peers_are_permanent_neighbours_until_they_leave_or_khavip_ends() {
    let mut network = three("perm");
    let both = expected(&network, &[2, 3]);
    until("both peers are permanent", || {
        permanent(&network.hosts[0]) == both
    });
    let mut feed = feed_for(1, &[1, 2]);
    feed.epoch = 2;
    network.host(1).feed(feed);
    let one = expected(&network, &[2]);
    until("who left is forgotten", || {
        permanent(&network.hosts[0]) == one
    });
    assert_eq!(network.host(1).terminate(), Some(0));
    assert_eq!(permanent(&network.hosts[0]), []);

    let others = expected(&network, &[1, 3]);
    until("two's peers are permanent", || {
        permanent(&network.hosts[1]) == others
    });
    network.host(2).kill();
    assert_eq!(
        permanent(&network.hosts[1]),
        others,
        "a kill leaves them behind"
    );
    network.host(2).start();
    assert_eq!(
        permanent(&network.hosts[1]),
        [],
        "its successor removes them"
    );
}

#[test]
fn a_peer_with_a_new_hardware_address_is_found_by_its_own_datagrams() {
    let mut network = three("nmac");
    let both = expected(&network, &[2, 3]);
    until("both peers are permanent", || {
        permanent(&network.hosts[0]) == both
    });
    let host = network.host(3);
    host.ip("link set eth0 down");
    host.ip("link set eth0 address 02:00:00:00:00:33");
    host.ip("link set eth0 up");
    let changed = expected(&network, &[2, 3]);
    assert_ne!(changed, both);
    until("the new one is permanent", || {
        permanent(&network.hosts[0]) == changed
    });
    until("all three hear each other", || {
        network.hosts.iter().all(|host| {
            let peers = host.status().lease.expect("lease").peers;
            peers.len() == 2 && peers.iter().all(|peer| peer.silent_ms < 2_000)
        })
    });
}

#[test]
fn entries_of_other_origin_are_left_alone() {
    let mut network = Network::new("oth", 2);
    let entry = "10.99.0.12 lladdr 02:00:00:00:00:77 dev eth0";
    network
        .host(1)
        .ip(&format!("neigh add {entry} nud permanent"));
    for id in [1, 2] {
        network.host(id).serve();
        network.host(id).start();
        network.host(id).feed(feed_for(id, &[1, 2]));
    }
    let ours = expected(&network, &[1]);
    until("two knows one", || permanent(&network.hosts[1]) == ours);
    let theirs = vec![("10.99.0.12".to_owned(), "02:00:00:00:00:77".to_owned())];
    assert_eq!(permanent(&network.hosts[0]), theirs);
    assert_eq!(network.host(1).terminate(), Some(0));
    assert_eq!(permanent(&network.hosts[0]), theirs);
}

#[test]
fn a_lease_over_ipv6_has_permanent_neighbours_too() {
    let mut network = Network::new("ip6", 2);
    for id in [1, 2] {
        let host = network.host(id);
        host.ip(&format!("addr add fd00:99::1{id}/64 dev eth0 nodad"));
        host.serve();
        host.start();
        let mut feed = feed_for(id, &[1, 2]);
        feed.bind = format!("[fd00:99::1{id}]:9443");
        for member in &mut feed.members {
            member.address = format!("[fd00:99::1{}]:9443", member.id);
        }
        host.feed(feed);
    }
    let other = vec![("fd00:99::12".to_owned(), network.host(2).mac())];
    until("the peer is permanent", || {
        permanent(&network.hosts[0]) == other
    });
    until("one of them holds", || {
        network.hosts.iter().any(Host::is_holding)
    });
    assert_eq!(network.host(1).terminate(), Some(0));
    assert_eq!(permanent(&network.hosts[0]), []);
}
