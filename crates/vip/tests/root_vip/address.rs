//! The VIP's address on one host, with the real kernel: put there, announced, guarded, removed.

use crate::network::{Network, VIP, feed_for, ip, until};
use khactl_proto::v1;
use khactl_sys::process_stat::ProcessStat;
use prost::Message;

fn alone(name: &'static str) -> Network {
    let mut network = Network::new(name, 1);
    network.host(1).serve();
    network.host(1).start();
    network
}

#[test]
fn a_lone_host_takes_the_vip_serves_it_and_takes_it_off_on_sigterm() {
    let mut network = alone("one");
    // What a client last knew: another host's hardware address.
    ip(&format!(
        "-n khvip-one-c neigh replace {VIP} lladdr 02:00:00:00:00:99 dev eth0 nud stale"
    ));
    let feed = feed_for(1, &[1]);
    assert_eq!(network.host(1).feed(feed.clone()), Vec::<String>::new());
    until("the VIP stands", || network.with_address() == [1]);
    let mac = network.host(1).mac();
    until("the announcement corrects the neighbour", || {
        network
            .client_ip(&format!("neigh show {VIP}"))
            .contains(&mac)
    });
    until("a client is served", || {
        network.ask_vip().as_deref() == Some("h1")
    });
    let shown = network.host(1).ip("-o -4 addr show");
    let line = shown.lines().find(|line| line.contains(VIP));
    let line = line.expect("the VIP's line");
    assert!(line.contains(&format!("{VIP}/32")), "{line}");
    assert!(
        line.contains("valid_lft 2sec") || line.contains("valid_lft 1sec"),
        "{line}"
    );
    let status = network.host(1).status();
    let lease = status.lease.expect("lease");
    assert!(lease.running && lease.holding && lease.ready && lease.fit);
    assert_eq!((lease.holder_id, lease.epoch), (1, 1));
    assert!(status.addresses[0].present && status.addresses[0].carrier);
    assert_eq!(status.addresses[0].interface, "eth0");
    assert!(status.backends[0].healthy);
    assert_eq!(status.problems, Vec::<String>::new());
    // The same again changes nothing.
    network.host(1).feed(feed);
    let again = network.host(1).status();
    assert_eq!(again.feed_digest, status.feed_digest);
    assert!(again.lease.expect("lease").holding);
    assert_eq!(network.host(1).terminate(), Some(0));
    assert_eq!(network.with_address(), Vec::<u64>::new());
}

#[test]
fn a_khavip_in_a_process_namespace_starts_though_its_session_began_outside() {
    let mut network = Network::new("pns", 1);
    network.host(1).serve();
    network
        .host(1)
        .start_under(&["unshare", "--pid", "--fork", "--kill-child"]);
    network.host(1).feed(feed_for(1, &[1]));
    until("the VIP stands", || network.with_address() == [1]);
}

/// Processor time of the process' first thread, which runs the control side, in kernel ticks.
fn control_ticks(pid: u32) -> u64 {
    ProcessStat::of_thread(pid, pid)
        .expect("it runs")
        .spent_ticks
}

#[test]
fn a_holder_with_nothing_to_do_rests() {
    let mut network = alone("rest");
    network.host(1).feed(feed_for(1, &[1]));
    until("the VIP stands", || network.with_address() == [1]);
    let pid = network.host(1).pid().expect("it runs");
    // A control loop that never sleeps uses the processor in every window.
    until("a window without work", || {
        let before = control_ticks(pid);
        std::thread::sleep(std::time::Duration::from_millis(300));
        control_ticks(pid) == before
    });
}

#[test]
fn an_address_that_somebody_removed_comes_back() {
    let mut network = alone("back");
    let feed = feed_for(1, &[1]);
    network.host(1).feed(feed);
    until("the VIP stands", || network.with_address() == [1]);
    for _ in 0..3 {
        network.host(1).ip(&format!("addr del {VIP}/32 dev eth0"));
        until("the VIP is back", || network.with_address() == [1]);
    }
    assert!(network.host(1).is_holding());
}

#[test]
fn the_vip_of_a_killed_khavip_goes_by_itself_and_a_new_process_takes_it_anew() {
    let mut network = alone("kill");
    let feed = feed_for(1, &[1]);
    network.host(1).feed(feed.clone());
    until("the VIP stands", || network.with_address() == [1]);
    network.host(1).kill();
    assert_eq!(network.with_address(), [1], "a kill leaves it behind");
    until("its lifetime ends", || network.with_address().is_empty());
    network.host(1).start();
    network.host(1).feed(feed);
    until("the VIP stands again", || network.with_address() == [1]);
}

#[test]
fn a_leftover_vip_is_removed_at_the_start_before_any_feed() {
    let mut network = alone("left");
    let feed = feed_for(1, &[1]);
    network.host(1).feed(feed);
    until("the VIP stands", || network.with_address() == [1]);
    network.host(1).kill();
    // Without a lifetime, as another program might have left it.
    network.host(1).ip(&format!(
        "addr replace {VIP}/32 dev eth0 valid_lft forever preferred_lft forever"
    ));
    network.host(1).start();
    assert_eq!(network.with_address(), Vec::<u64>::new());
    assert!(!network.host(1).status().fed);
}

#[test]
fn what_a_dead_khavip_held_is_released_but_nothing_of_a_living_one() {
    let mut network = alone("rel");
    let feed = feed_for(1, &[1]);
    let encoded = feed.encode_to_vec();
    network.host(1).feed(feed);
    until("the VIP stands", || network.with_address() == [1]);
    assert!(!network.host(1).release(&encoded), "it lives");
    assert_eq!(network.with_address(), [1]);
    network.host(1).kill();
    assert!(network.host(1).release(&encoded));
    assert_eq!(network.with_address(), Vec::<u64>::new());
}

#[test]
fn a_feed_that_cannot_be_meant_is_refused_and_changes_nothing() {
    let mut network = alone("bad");
    let good = feed_for(1, &[1]);
    network.host(1).feed(good.clone());
    until("the VIP stands", || network.with_address() == [1]);
    let before = network.host(1).status().feed_digest;
    let bad = v1::VipFeedRequest {
        lease_ms: 5,
        ..good
    };
    let refused = network.host(1).try_feed(bad).expect_err("refused");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(refused.message().contains("lease_ms"), "{refused}");
    assert_eq!(network.host(1).status().feed_digest, before);
    assert_eq!(network.with_address(), [1]);
}

#[test]
fn a_vip_without_an_interface_is_a_problem_until_there_is_one() {
    let mut network = alone("noif");
    let mut feed = feed_for(1, &[1]);
    feed.addresses[0].cidr = "10.98.0.100/24".to_owned();
    let problems = network.host(1).feed(feed);
    assert!(problems[0].contains("no interface"), "{problems:?}");
    assert!(!network.host(1).status().lease.expect("lease").fit);
    network.host(1).ip("addr add 10.98.0.1/24 dev eth0");
    until("the VIP stands", || {
        network.host(1).has_address("10.98.0.100")
    });
    assert_eq!(network.host(1).status().problems, Vec::<String>::new());
}

#[test]
fn an_ipv6_vip_is_there_at_once_and_never_a_preferred_source() {
    let mut network = alone("six");
    network.host(1).ip("addr add fd00:99::11/64 dev eth0 nodad");
    let mut feed = feed_for(1, &[1]);
    feed.addresses.push(v1::VipAddress {
        cidr: "fd00:99::100/64".to_owned(),
        interface: "eth0".to_owned(),
    });
    assert_eq!(network.host(1).feed(feed), Vec::<String>::new());
    until("both stand", || {
        network.host(1).has_vip() && network.host(1).has_address("fd00:99::100")
    });
    let shown = network.host(1).ip("-o -6 addr show");
    let line = shown.lines().find(|line| line.contains("fd00:99::100/128"));
    let line = line.expect("the VIP's line");
    assert!(
        line.contains("deprecated") && !line.contains("tentative"),
        "{line}"
    );
    assert_eq!(network.host(1).terminate(), Some(0));
    assert!(!network.host(1).has_address("fd00:99::100"));
}
