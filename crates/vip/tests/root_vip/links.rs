//! Interfaces that go, come back, change their names or have no carrier, and kinds of them. The VIP is on an interface
//! of its own here, so that the lease's datagrams go on.

use crate::ear::Ear;
use crate::network::{Host, Network, VIP, VIP6, feed_for, until};
use khactl_proto::v1;

const OWN: &str = "10.98.0.100";

/// A lone host; `eth1` with 10.98.0.1/24 is one end of a cable whose other end is `far`.
fn with_cable(name: &'static str) -> (Network, v1::VipFeedRequest) {
    let mut network = Network::new(name, 1);
    network.host(1).serve();
    network.host(1).start();
    plug(&mut network);
    let mut feed = feed_for(1, &[1]);
    feed.addresses[0].cidr = format!("{OWN}/24");
    (network, feed)
}

fn plug(network: &mut Network) {
    let host = network.host(1);
    host.ip("link add eth1 type veth peer name far");
    host.ip("addr add 10.98.0.1/24 dev eth1");
    host.ip("link set eth1 up");
    host.ip("link set far up");
}

#[test]
fn an_interface_that_goes_away_is_a_reason_and_one_that_comes_back_carries_the_vip_again() {
    let (mut network, feed) = with_cable("gone");
    network.host(1).feed(feed);
    until("the VIP stands", || network.host(1).has_address(OWN));
    network.host(1).ip("link del eth1");
    until("it is missed", || {
        let status = network.host(1).status();
        let problems = status.problems.iter();
        let lease = status.lease.expect("lease");
        let named = problems.filter(|problem| problem.contains("no interface of this host"));
        named.count() == 1
            && !lease.holding
            && lease.reason == "this host has no interface for the VIP"
    });
    plug(&mut network);
    until("the VIP stands again", || network.host(1).has_address(OWN));
    until("nothing hinders any more", || {
        network.host(1).status().problems.is_empty()
    });
}

#[test]
fn an_interface_without_carrier_is_a_reason_not_to_take_the_vip() {
    let (mut network, feed) = with_cable("carr");
    network.host(1).ip("link set far down");
    network.host(1).feed(feed);
    until("the reason", || {
        network.host(1).reason() == "eth1 has no carrier"
    });
    let status = network.host(1).status();
    assert!(!status.addresses[0].carrier && !status.addresses[0].present);
    network.host(1).ip("link set far up");
    until("the VIP stands", || network.host(1).has_address(OWN));
    assert_eq!(network.host(1).reason(), "");
}

#[test]
fn a_renamed_interface_keeps_the_vip_under_its_new_name() {
    let (mut network, feed) = with_cable("name");
    network.host(1).feed(feed);
    until("the VIP stands", || network.host(1).has_address(OWN));
    network.host(1).ip("link set eth1 down");
    network.host(1).ip("link set eth1 name lan0");
    network.host(1).ip("link set lan0 up");
    until("its new name", || {
        let status = network.host(1).status();
        status.addresses[0].interface == "lan0" && status.addresses[0].present
    });
    assert!(network.host(1).is_holding());
}

#[test]
fn bridges_vlans_and_macvlans_carry_the_vip_like_any_other_interface() {
    let (mut network, feed) = with_cable("kind");
    let host = network.host(1);
    host.ip("addr flush dev eth1");
    for (kind, how) in [
        ("bridge", "link add over type bridge"),
        ("macvlan", "link add link eth1 name over type macvlan"),
        ("vlan", "link add link eth1 name over type vlan id 10"),
    ] {
        let host = network.host(1);
        host.ip(how);
        if kind != "bridge" && host.ip("-o link show dev over").is_empty() {
            // Not every kernel has every kind; bridges carry these tests' own network.
            continue;
        }
        if kind == "bridge" {
            host.ip("link set eth1 master over");
        }
        host.ip("addr add 10.98.0.1/24 dev over");
        host.ip("link set over up");
        host.feed(feed.clone());
        until(kind, || network.host(1).has_address(OWN));
        let status = network.host(1).status();
        assert_eq!(status.addresses[0].interface, "over", "{kind}");
        assert_eq!(status.problems, Vec::<String>::new(), "{kind}");
        network.host(1).ip("link del over");
        until("it is gone", || !network.host(1).is_holding());
    }
}

#[test]
fn a_link_that_comes_up_again_is_announced_on_and_has_both_vips() {
    let mut network = Network::new("lnk", 1);
    network.host(1).ip("addr add fd00:99::11/64 dev eth0 nodad");
    network.host(1).serve();
    network.host(1).start();
    let mut feed = feed_for(1, &[1]);
    feed.addresses.push(v1::VipAddress {
        cidr: format!("{VIP6}/64"),
        interface: "auto".to_owned(),
    });
    let mut ear = Ear::of_client(&network);
    let mac = network.host(1).mac();
    network.host(1).feed(feed);
    until("the bursts of the takeover", || {
        ear.announcements(VIP, &mac) == 4 && ear.announcements(VIP6, &mac) == 4
    });
    network.cable(1, false);
    until("the carrier is missed", || {
        let problems = network.host(1).status().problems;
        problems
            .iter()
            .any(|problem| problem.contains("no carrier"))
    });
    network.cable(1, true);
    until("another burst of both", || {
        ear.announcements(VIP, &mac) >= 8 && ear.announcements(VIP6, &mac) >= 8
    });
    assert!(network.host(1).has_vip() && network.host(1).has_address(VIP6));
    assert!(network.host(1).is_holding(), "a lone holder stays it");
    // By whomever: IPv6 too comes back at once.
    network.host(1).ip(&format!("addr del {VIP6}/128 dev eth0"));
    until("the IPv6 VIP is back", || network.host(1).has_address(VIP6));
}

#[test]
fn the_vip_is_never_chosen_as_a_source_address() {
    let mut network = Network::new("src", 1);
    network.host(1).ip("addr add fd00:99::11/64 dev eth0 nodad");
    network.host(1).serve();
    network.host(1).start();
    let mut feed = feed_for(1, &[1]);
    feed.addresses.push(v1::VipAddress {
        cidr: format!("{VIP6}/64"),
        interface: "auto".to_owned(),
    });
    network.host(1).feed(feed);
    until("both VIPs stand", || {
        network.host(1).has_vip() && network.host(1).has_address(VIP6)
    });
    for (to, own) in [
        ("10.99.0.200", "10.99.0.11"),
        ("fd00:99::200", "fd00:99::11"),
    ] {
        let route = network.host(1).ip(&format!("route get {to}"));
        assert!(route.contains(&format!("src {own} ")), "{route}");
    }
}

#[test]
fn a_holder_whose_hardware_address_changes_announces_the_new_one() {
    let mut network = Network::new("mac", 1);
    network.host(1).serve();
    network.host(1).start();
    let mut ear = Ear::of_client(&network);
    network.host(1).feed(feed_for(1, &[1]));
    until("a client is served", || {
        network.ask_vip().as_deref() == Some("h1")
    });
    let fresh = "02:00:00:00:00:44";
    network
        .host(1)
        .ip(&format!("link set eth0 address {fresh}"));
    until("a burst with the new one", || {
        ear.announcements(VIP, fresh) >= 4
    });
    until("a client is served at the new one", || {
        network.ask_vip().as_deref() == Some("h1")
    });
    assert!(
        network
            .client_ip(&format!("neigh show {VIP}"))
            .contains(fresh)
    );
    assert!(network.host(1).is_holding());
}

#[test]
fn after_a_heal_the_new_holder_announces_again() {
    let mut network = Network::new("heal", 3);
    for id in 1..=3 {
        network.host(id).serve();
        network.host(id).start();
        network.host(id).feed(feed_for(id, &[1, 2, 3]));
    }
    let mut first = 0;
    until("a holder", || {
        let found = network.hosts.iter().find(|host| host.is_holding());
        first = found.map_or(0, |host| host.id);
        first != 0
    });
    let mut ear = Ear::of_client(&network);
    network.cable(first, false);
    let mut mac = String::new();
    until("another holder", || {
        let mut others = network.hosts.iter().filter(|host| host.id != first);
        let found = others.find(|host| host.is_holding());
        mac = found.map(Host::mac).unwrap_or_default();
        found.is_some()
    });
    until("the burst of its takeover", || {
        ear.announcements(VIP, &mac) == 4
    });
    network.cable(first, true);
    // The regular one comes every ten seconds; four more are a burst.
    until("another burst", || ear.announcements(VIP, &mac) >= 8);
    assert!(!network.host(first).has_vip());
}
