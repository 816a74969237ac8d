//! Which processes khavip ends when no majority answers it, and which it leaves alone.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command};
use std::time::Duration;

use khactl_proto::v1;
use khactl_sys::process_stat::ProcessStat;
use rustix::process::Signal;

use crate::network::{API_PORT, Host, Network, feed_for, until};

const ALL: [u64; 3] = [1, 2, 3];

/// Stands for a component; ends with the test.
struct Component {
    name: &'static str,
    child: Child,
}

impl Component {
    fn start(name: &'static str) -> Self {
        let child = Command::new("sleep").arg("600").spawn().expect("starts");
        Self { name, child }
    }

    fn named(&self) -> v1::VipFenced {
        let pid = self.child.id();
        v1::VipFenced {
            component: self.name.to_owned(),
            pid,
            start_ticks: ProcessStat::of(pid).expect("runs").start_ticks,
        }
    }

    fn lives(&mut self) -> bool {
        self.child.try_wait().expect("asked").is_none()
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        // It may have ended already, which is what the tests are about.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn feed(host: &Host, fenced: &[v1::VipFenced]) {
    host.feed(v1::VipFeedRequest {
        fenced: fenced.to_vec(),
        ..feed_for(host.id, &ALL)
    });
}

fn fence(host: &Host) -> v1::VipFence {
    host.status().fence.unwrap_or_default()
}

/// Process ids of what is armed.
fn armed(host: &Host) -> Vec<u32> {
    let processes = fence(host).processes.into_iter();
    processes
        .filter(|status| status.armed)
        .filter_map(|status| Some(status.process?.pid))
        .collect()
}

/// Three hosts with one component each, all of them armed.
fn three(name: &'static str) -> (Network, Vec<Component>) {
    let mut network = Network::new(name, 3);
    for id in ALL {
        let host = network.host(id);
        host.start();
        feed(host, &[]);
    }
    // Without a record of before they answer nobody at first.
    until("all answer", || {
        let mut leases = network.hosts.iter().map(|host| host.status().lease);
        leases.all(|lease| lease.is_some_and(|lease| lease.ready))
    });
    let mut components = Vec::new();
    for host in &network.hosts {
        let component = Component::start("kube-controller-manager");
        feed(host, &[component.named()]);
        components.push(component);
    }
    for (host, component) in network.hosts.iter().zip(&components) {
        until("its component is armed", || {
            armed(host) == [component.child.id()]
        });
    }
    (network, components)
}

#[test]
fn a_host_that_is_cut_off_ends_its_own_components_and_no_others() {
    let (network, mut components) = three("fnc");
    // Its number is right, but that process started earlier: the number was given to another one since.
    let mut stranger = Component::start("kube-scheduler");
    let mut recycled = stranger.named();
    recycled.start_ticks -= 1;
    feed(
        &network.hosts[0],
        &[components[0].named(), recycled.clone()],
    );
    until("only the one that is meant is armed", || {
        armed(&network.hosts[0]) == [components[0].child.id()]
    });
    assert!(components.iter_mut().all(Component::lives));

    // From here on nobody feeds: khad's part is done.
    network.cable(1, false);
    until("the component ends", || !components[0].lives());
    until("khavip tells of it", || fence(&network.hosts[0]).fired == 1);
    let told = fence(&network.hosts[0]);
    let silent = told.reason.split_whitespace().rev().nth(1);
    let silent_ms: u32 = silent.and_then(|ms| ms.parse().ok()).expect("a time");
    assert!(silent_ms >= 1_000, "too early: {}", told.reason);
    assert!(told.processes[0].fired && !told.processes[0].armed);
    assert!(stranger.lives(), "whoever has the number now is not meant");

    // What is started without a majority waits for one.
    let mut next = Component::start("kube-controller-manager");
    feed(&network.hosts[0], &[next.named()]);
    until(
        "a majority is silent for longer than the fence waits",
        || fence(&network.hosts[0]).silent_ms > 3_000,
    );
    assert!(next.lives());
    assert_eq!(armed(&network.hosts[0]), []);
    network.cable(1, true);
    until("it is armed", || {
        armed(&network.hosts[0]) == [next.child.id()]
    });
    assert!(next.lives());
    for (host, component) in network.hosts.iter().zip(&mut components).skip(1) {
        assert!(component.lives());
        assert_eq!(fence(host).fired, 0);
    }
}

/// Until another host would count as dead what khavip on that one had armed.
fn await_silence(witness: &Host, id: u64) {
    until("the others hear nothing of it for long enough", || {
        let peers = witness.status().lease.expect("lease").peers;
        let silent = peers.iter().find(|peer| peer.host_id == id);
        silent.is_some_and(|peer| peer.silent_ms > 1_500)
    });
}

#[test]
fn a_khavip_that_stood_still_ends_what_it_guards() {
    let (network, mut components) = three("fnf");
    network.hosts[0].signal(Signal::STOP);
    await_silence(&network.hosts[1], 1);
    assert!(components[0].lives(), "nobody was there to end it");
    network.hosts[0].signal(Signal::CONT);
    until("its component ends", || !components[0].lives());
    assert!(components[1].lives() && components[2].lives());
}

#[test]
fn a_new_khavip_ends_what_nobody_guarded_for_too_long_before_it_serves() {
    let (mut network, mut components) = three("fnn");
    // With a majority in reach, which answers the new one at once.
    network.host(2).kill();
    await_silence(&network.hosts[0], 2);
    network.host(2).start();
    assert_eq!(fence(&network.hosts[1]).processes, []);
    feed(&network.hosts[1], &[components[1].named()]);
    assert_eq!(
        fence(&network.hosts[1]).fired,
        1,
        "by the time the feed is taken"
    );
    until("its component ends", || !components[1].lives());
    let mut next = Component::start("kube-controller-manager");
    feed(&network.hosts[1], &[next.named()]);
    until("the next one is armed", || {
        armed(&network.hosts[1]) == [next.child.id()]
    });
    assert!(next.lives());

    // Without one.
    network.host(3).kill();
    network.cable(3, false);
    network.host(3).start();
    feed(&network.hosts[2], &[components[2].named()]);
    assert_eq!(armed(&network.hosts[2]), []);
    until("it ends all the same", || !components[2].lives());
    assert!(components[0].lives());
}

#[test]
fn a_host_whose_own_address_goes_away_ends_its_components() {
    let (network, mut components) = three("fna");
    let host = &network.hosts[0];
    host.ip("addr del 10.99.0.11/24 dev eth0");
    // As khad does, and khavip itself every second: the VIP has no place here meanwhile.
    feed(host, &[components[0].named()]);
    until("the component ends", || !components[0].lives());
    assert_eq!(fence(host).fired, 1);
    let mut next = Component::start("kube-controller-manager");
    feed(host, &[next.named()]);
    host.ip("addr add 10.99.0.11/24 dev eth0");
    until("the next one is armed", || armed(host) == [next.child.id()]);
    assert!(next.lives() && components[1].lives() && components[2].lives());
}

#[test]
fn a_lease_thread_that_is_replaced_leaves_nothing_unguarded() {
    let (network, mut components) = three("fnr");
    let host = &network.hosts[0];
    let bound_to = |bind: &str, fenced: &[v1::VipFenced]| {
        host.feed(v1::VipFeedRequest {
            bind: bind.to_owned(),
            fenced: fenced.to_vec(),
            ..feed_for(1, &ALL)
        })
    };
    // Answers come to wherever the question came from.
    bound_to("10.99.0.11:9444", &[components[0].named()]);
    let mut next = Component::start("kube-scheduler");
    bound_to("10.99.0.11:9444", &[next.named()]);
    until("what is fed to the new thread is armed", || {
        armed(host) == [next.child.id()]
    });
    assert!(next.lives());

    // None can be had at an address that is not the host's.
    let problems = bound_to("10.99.0.77:9443", &[next.named()]);
    assert!(!problems.is_empty());
    until("what nobody guards ends", || !next.lives());
    let mut last = Component::start("kube-scheduler");
    bound_to("10.99.0.77:9443", &[last.named()]);
    assert!(last.lives(), "nobody ever counted on its end");
    assert!(components[1].lives() && components[2].lives());
}

#[test]
fn a_khavip_that_is_told_to_end_guards_while_its_clients_finish() {
    let (network, mut components) = three("fnt");
    let host = &network.hosts[0];
    host.serve();
    let mut client = None;
    until("a client is served", || {
        client = host.inside(by_loopback);
        client.is_some()
    });
    host.signal(Signal::TERM);
    network.cable(1, false);
    // Nobody starts another one here: it is this one that does it.
    until("its component ends", || !components[0].lives());
    drop(client);
    assert!(components[1].lives() && components[2].lives());
}

/// A client of the host's own balancer, which has been answered.
fn by_loopback() -> Option<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, API_PORT)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.write_all(b"who\n").ok()?;
    let mut name = [0; 16];
    let read = stream.read(&mut name).ok()?;
    (read > 0).then_some(stream)
}
