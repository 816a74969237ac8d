//! Three khavip processes on three hosts, fed by hand: always one holder, and another when it goes.

use crate::network::{Network, feed_for, until};
use prost::Message;
use rustix::process::Signal;

pub(crate) const ALL: [u64; 3] = [1, 2, 3];

pub(crate) fn three(name: &'static str) -> Network {
    let mut network = Network::new(name, 3);
    for id in ALL {
        let feed = feed_for(id, &ALL);
        let host = network.host(id);
        host.serve();
        host.start();
        assert_eq!(host.feed(feed), Vec::<String>::new());
    }
    network
}

/// The one host that holds the VIP and has its address; checks that no other has it.
pub(crate) fn holder(network: &Network) -> u64 {
    let mut holder = 0;
    until("exactly one holder", || {
        let with_address = network.with_address();
        assert!(with_address.len() <= 1, "two hosts: {with_address:?}");
        let holding = network.hosts.iter().find(|host| host.is_holding());
        match (holding, with_address.as_slice()) {
            (Some(host), [id]) if host.id == *id => {
                holder = *id;
                true
            }
            _ => false,
        }
    });
    holder
}

#[test]
fn one_of_three_holds_and_clients_reach_every_backend_through_it() {
    let network = three("3h");
    let first = holder(&network);
    let mut seen = std::collections::BTreeSet::new();
    until("every backend has answered", || {
        seen.extend(network.ask_vip());
        seen.len() == 3
    });
    assert_eq!(holder(&network), first, "a quiet cluster keeps its holder");
    for host in &network.hosts {
        let lease = host.status().lease.expect("lease");
        assert_eq!(lease.holding, host.id == first);
    }
    until("all know the holder", || {
        network
            .hosts
            .iter()
            .all(|host| host.status().lease.expect("lease").holder_id == first)
    });
}

#[test]
fn when_the_holders_cable_is_pulled_another_takes_the_vip_and_the_old_one_drops_it() {
    let mut network = three("cut");
    let first = holder(&network);
    network.cable(first, false);
    until("another holds", || {
        network
            .hosts
            .iter()
            .any(|host| host.id != first && host.is_holding())
    });
    // The old one let go before: its deadline is earlier than any successor's first claim.
    assert!(!network.host(first).has_vip());
    let second = holder(&network);
    until("clients are served again", || {
        network
            .ask_vip()
            .is_some_and(|name| name != format!("h{first}"))
    });
    network.cable(first, true);
    until("the old one sees the new holder", || {
        network.host(first).status().lease.expect("lease").holder_id == second
    });
    assert_eq!(holder(&network), second, "it stays where it is");
}

#[test]
fn sigterm_hands_the_vip_over() {
    let mut network = three("term");
    let first = holder(&network);
    assert_eq!(network.host(first).terminate(), Some(0));
    assert!(!network.host(first).has_vip());
    assert_ne!(holder(&network), first);
    until("clients are served again", || network.ask_vip().is_some());
}

#[test]
fn a_hand_over_goes_to_the_named_successor() {
    let mut network = three("over");
    let first = holder(&network);
    let successor = first % 3 + 1;
    assert!(
        !network.host(successor).hand_over(first),
        "it has nothing to give"
    );
    assert!(network.host(first).hand_over(successor));
    assert!(!network.host(first).has_vip());
    until("the successor holds", || {
        network.host(successor).is_holding()
    });
    assert_eq!(holder(&network), successor);
}

#[test]
fn a_killed_holder_released_by_the_one_shot_makes_way_at_once() {
    let mut network = three("dead");
    let first = holder(&network);
    let feed = feed_for(first, &ALL).encode_to_vec();
    network.host(first).kill();
    assert!(network.host(first).release(&feed));
    assert_ne!(holder(&network), first);
    let feed = feed_for(first, &ALL);
    network.host(first).start();
    network.host(first).feed(feed);
    until("the restarted one takes part", || {
        network.host(first).status().lease.expect("lease").ready
    });
}

#[test]
fn whoever_loses_every_backend_is_unfit_and_the_holder_stays() {
    let network = three("unfit");
    let first = holder(&network);
    // Nobody's backend: refused at once everywhere.
    for host in &network.hosts {
        let mut feed = feed_for(host.id, &ALL);
        for backend in &mut feed.balancer.as_mut().expect("there").backends {
            backend.address = backend.address.replace(":6443", ":7");
        }
        host.feed(feed);
    }
    until("all are unfit", || {
        network
            .hosts
            .iter()
            .all(|host| !host.status().lease.expect("lease").fit)
    });
    assert_eq!(holder(&network), first);
}

#[test]
fn a_host_that_is_stopped_for_a_while_finds_another_holder_when_it_goes_on() {
    let mut network = three("stop");
    let first = holder(&network);
    network.host(first).signal(Signal::STOP);
    until("another holds", || {
        network.hosts.iter().any(|host| {
            // The stopped one answers nothing.
            host.id != first && host.is_holding()
        })
    });
    network.host(first).signal(Signal::CONT);
    until("the stopped one lets go", || !network.host(first).has_vip());
    until("it knows that it does not hold", || {
        !network.host(first).is_holding()
    });
    assert_ne!(holder(&network), first);
}
