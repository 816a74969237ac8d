//! Other machines that have the VIP: noticed before the first claim, and answered while it is held.

use crate::ear::{Ear, claim};
use crate::network::{Network, VIP, VIP6, feed_for, until};
use khactl_proto::v1;

/// A host with both VIPs in its feed.
fn with_both(name: &'static str, hosts: u64) -> (Network, v1::VipFeedRequest) {
    let mut network = Network::new(name, hosts);
    network.host(1).ip("addr add fd00:99::11/64 dev eth0 nodad");
    network.host(1).serve();
    network.host(1).start();
    let mut feed = feed_for(1, &[1]);
    feed.addresses.push(v1::VipAddress {
        cidr: format!("{VIP6}/64"),
        interface: "auto".to_owned(),
    });
    (network, feed)
}

#[test]
fn a_vip_that_another_machine_has_is_not_taken_until_that_is_gone() {
    for (name, address, length) in [("use4", VIP, 32), ("use6", VIP6, 128)] {
        let (mut network, feed) = with_both(name, 2);
        network.host(2).ip("addr add fd00:99::12/64 dev eth0 nodad");
        network
            .host(2)
            .ip(&format!("addr add {address}/{length} dev eth0 nodad"));
        let said = format!("the VIP {address} is in use by {}", network.host(2).mac());
        network.host(1).feed(feed);
        until("the other machine is named", || {
            network.host(1).reason() == said
        });
        let status = network.host(1).status();
        let lease = status.lease.expect("lease");
        assert!(!lease.fit && !lease.holding, "{lease:?}");
        assert!(!network.host(1).has_vip() && !network.host(1).has_address(VIP6));
        assert!(
            status.problems.iter().any(|p| p.starts_with(&said)),
            "{:?}",
            status.problems
        );
        network
            .host(2)
            .ip(&format!("addr del {address}/{length} dev eth0"));
        until("both VIPs stand", || {
            network.host(1).has_vip() && network.host(1).has_address(VIP6)
        });
        assert_eq!(network.host(1).status().problems, Vec::<String>::new());
    }
}

#[test]
fn a_holder_contradicts_whoever_else_claims_the_vip_and_stays_the_holder() {
    let (mut network, feed) = with_both("clm", 2);
    let mut ear = Ear::of_client(&network);
    network.host(1).feed(feed);
    let (own, other) = (network.host(1).mac(), network.host(2).mac());
    until("the bursts of the takeover", || {
        ear.announcements(VIP, &own) == 4 && ear.announcements(VIP6, &own) == 4
    });
    for address in [VIP, VIP6] {
        let before = ear.announcements(address, &own);
        claim(network.host(2), address);
        // The regular one comes every ten seconds; four more are an answer.
        until("an answering burst", || {
            ear.announcements(address, &own) >= before + 4
        });
        let said = format!("the VIP {address} is in use by {other}");
        until("it is told", || {
            let problems = network.host(1).status().problems;
            problems.iter().any(|problem| problem.starts_with(&said))
        });
        assert!(network.host(1).is_holding());
        until("it is found to be gone", || {
            network.host(1).status().problems.is_empty()
        });
    }
    assert!(network.host(1).has_vip() && network.host(1).has_address(VIP6));
}

#[test]
fn peers_that_take_turns_are_no_strangers_to_each_other() {
    let mut network = Network::new("turn", 3);
    for id in 1..=3 {
        network.host(id).serve();
        network.host(id).start();
        network.host(id).feed(feed_for(id, &[1, 2, 3]));
    }
    let mut holder = 0;
    for _ in 0..3 {
        until("another holder", || {
            let now = network.hosts.iter().find(|host| host.is_holding());
            let changed = now.map(|host| host.id).filter(|id| *id != holder);
            holder = changed.unwrap_or(holder);
            changed.is_some()
        });
        until("the others are fit", || {
            network
                .hosts
                .iter()
                .all(|host| host.status().lease.expect("lease").fit)
        });
        for host in &network.hosts {
            assert_eq!(host.status().problems, Vec::<String>::new());
        }
        network.host(holder).hand_over(0);
    }
}
