//! The gate of a real khavip that is stopped, killed, released for, started again and taken away.

use prost::Message;
use rustix::process::Signal;

use crate::network::{Network, VIP, feed_for, until};

/// What takes BPF, or both kinds of gate, away from a khavip.
const NO_BPF: [&str; 3] = ["setpriv", "--bounding-set", "-bpf,-sys_admin"];
const NO_GATE: [&str; 5] = [
    "setpriv",
    "--bounding-set",
    "-bpf,-sys_admin",
    "env",
    "PATH=/nowhere",
];

fn holding_under(name: &'static str, wrapper: &[&str]) -> Network {
    let mut network = Network::new(name, 1);
    network.host(1).serve();
    network.host(1).start_under(wrapper);
    network.host(1).feed(feed_for(1, &[1]));
    until("the VIP stands", || network.with_address() == [1]);
    until("a client is served", || network.ask_vip().is_some());
    network
}

/// The kernel would take the address away by its lifetime: that is not what is tested here. And the
/// client knows where to send.
fn pin_address(network: &mut Network) {
    network.host(1).ip(&format!(
        "addr replace {VIP}/32 dev eth0 valid_lft forever preferred_lft forever"
    ));
    let mac = network.host(1).mac();
    network.client_ip(&format!(
        "neigh replace {VIP} lladdr {mac} dev eth0 nud permanent"
    ));
}

/// Whether the host answers a question of the client's, by the kernel alone: nobody listens there.
fn answers(network: &Network) -> bool {
    network.client(|| {
        let to = format!("{VIP}:9").parse().expect("address");
        let asked = std::net::TcpStream::connect_timeout(&to, std::time::Duration::from_millis(50));
        asked.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    })
}

fn is_silent_though_the_address_stands(network: &mut Network) {
    pin_address(network);
    until("it is silent", || !answers(network));
    for _ in 0..20 {
        assert!(!answers(network), "it stays silent");
    }
    assert_eq!(network.with_address(), [1]);
}

fn tc(name: &str, arguments: &str) -> String {
    let output = std::process::Command::new("tc")
        .args(["-n", &format!("khvip-{name}-1")])
        .args(arguments.split_whitespace())
        .output()
        .expect("the tc program");
    assert!(output.status.success(), "tc {arguments}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn gate(network: &mut Network) -> (String, String, Vec<String>) {
    let gate = network.host(1).status().gate.expect("there is a lease");
    (gate.kind, gate.reason, gate.interfaces)
}

#[test]
fn a_stopped_holder_is_silent_though_its_address_stands() {
    let mut network = holding_under("gstp", &[]);
    let best = ("bpf".to_owned(), String::new(), vec!["eth0".to_owned()]);
    assert_eq!(gate(&mut network), best);
    network.host(1).signal(Signal::STOP);
    is_silent_though_the_address_stands(&mut network);
    network.host(1).signal(Signal::CONT);
    until("it serves again", || network.ask_vip().is_some());
}

#[test]
fn a_killed_holder_is_silent_though_its_address_stands_and_the_next_process_serves() {
    let mut network = holding_under("gkil", &[]);
    network.host(1).kill();
    is_silent_though_the_address_stands(&mut network);
    network.host(1).start();
    assert_eq!(network.with_address(), Vec::<u64>::new());
    // Nothing but the gate would keep this address silent now.
    network
        .host(1)
        .ip(&format!("addr replace {VIP}/32 dev eth0"));
    assert!(!answers(&network), "it stands since before the start");
    network.host(1).feed(feed_for(1, &[1]));
    until("it serves again", || network.ask_vip().is_some());
}

#[test]
fn a_release_closes_the_gate_and_a_removal_leaves_nothing() {
    let mut network = holding_under("grel", &[]);
    // A lease that outlasts the test, were it not for the release.
    let mut feed = feed_for(1, &[1]);
    feed.lease_ms = 2_000;
    network.host(1).feed(feed.clone());
    network.host(1).kill();
    assert!(network.host(1).release(&feed.encode_to_vec()));
    assert_eq!(network.with_address(), Vec::<u64>::new());
    network
        .host(1)
        .ip(&format!("addr replace {VIP}/32 dev eth0"));
    let mac = network.host(1).mac();
    network.client_ip(&format!(
        "neigh replace {VIP} lladdr {mac} dev eth0 nud permanent"
    ));
    assert!(!answers(&network), "the gate is closed, not gone");
    let remove = |network: &mut Network| {
        let command = network.host(1).command(&["gate", "remove"]).status();
        command.expect("khavip starts").success()
    };
    network.host(1).start();
    assert!(!remove(&mut network), "a khavip lives");
    assert_eq!(network.host(1).terminate(), Some(0));
    network
        .host(1)
        .ip(&format!("addr replace {VIP}/32 dev eth0"));
    assert!(remove(&mut network));
    assert_eq!(network.with_address(), Vec::<u64>::new(), "the VIP first");
    let disciplines = tc("grel", "qdisc show dev eth0");
    assert!(!disciplines.contains("clsact"), "{disciplines}");
}

#[test]
fn without_bpf_a_stopped_holder_is_silent_by_nftables() {
    let mut network = holding_under("gnft", &NO_BPF);
    let (kind, reason, interfaces) = gate(&mut network);
    assert_eq!(
        (kind.as_str(), interfaces.as_slice()),
        ("nft", ["eth0".to_owned()].as_slice())
    );
    assert!(reason.contains("may not load BPF programs"), "{reason}");
    network.host(1).signal(Signal::STOP);
    is_silent_though_the_address_stands(&mut network);
    network.host(1).signal(Signal::CONT);
    until("it serves again", || network.ask_vip().is_some());
}

#[test]
fn without_any_gate_a_stopped_holder_goes_on_answering_and_the_status_has_said_so() {
    let mut network = holding_under("gnon", &NO_GATE);
    let (kind, reason, interfaces) = gate(&mut network);
    assert_eq!((kind.as_str(), interfaces.len()), ("none", 0));
    assert!(reason.contains("may not load BPF programs"), "{reason}");
    assert!(reason.contains("no program `nft`"), "{reason}");
    network.host(1).signal(Signal::STOP);
    pin_address(&mut network);
    // Far beyond the lease of 400 ms.
    let stopped = khactl_sys::clock::monotonic();
    until("the lease is over", || {
        assert!(answers(&network), "the address alone holds nothing back");
        khactl_sys::clock::monotonic() > stopped + std::time::Duration::from_secs(1)
    });
    network.host(1).signal(Signal::CONT);
    until("it serves again", || network.ask_vip().is_some());
}

#[test]
fn a_gate_that_somebody_took_away_comes_back_within_seconds() {
    let mut network = holding_under("gmnd", &[]);
    tc("gmnd", "qdisc del dev eth0 clsact");
    until("it is back", || {
        let shown = |direction| tc("gmnd", &format!("filter show dev eth0 {direction}"));
        ["ingress", "egress"]
            .map(shown)
            .concat()
            .matches("khactl-gate")
            .count()
            == 2
    });
    network.host(1).signal(Signal::STOP);
    is_silent_though_the_address_stands(&mut network);
}

#[test]
fn when_the_vip_moves_to_another_interface_the_gate_goes_with_it() {
    let mut network = holding_under("gmov", &[]);
    for step in [
        "link add d0 type veth peer name d1",
        "link set d0 up",
        "link set d1 up",
    ] {
        network.host(1).ip(step);
    }
    let mut feed = feed_for(1, &[1]);
    feed.addresses[0].interface = "d0".to_owned();
    assert_eq!(network.host(1).feed(feed), Vec::<String>::new());
    assert_eq!(gate(&mut network).2, ["d0"]);
    let filters = |interface: &str| {
        let shown = |direction| tc("gmov", &format!("filter show dev {interface} {direction}"));
        ["ingress", "egress"].map(shown).concat()
    };
    assert_eq!(filters("eth0"), "");
    assert_eq!(filters("d0").matches("khactl-gate").count(), 2);
    until("the VIP stands there", || {
        let there = network.host(1).ip("-o addr show dev d0");
        there.contains(VIP)
    });
    let here = network.host(1).ip("-o addr show dev eth0");
    assert!(!here.contains(VIP), "{here}");
}

#[test]
fn a_check_says_what_the_host_bears_and_leaves_nothing() {
    let check = |wrapper: &[&str]| {
        let words = [wrapper, &[env!("CARGO_BIN_EXE_khavip"), "gate", "check"]].concat();
        let output = std::process::Command::new(words[0])
            .args(&words[1..])
            .output()
            .expect("it starts");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(check(&[]), "bpf\n");
    let weaker = check(&NO_BPF);
    assert!(weaker.starts_with("nft: khavip may not load"), "{weaker}");
    let none = check(&NO_GATE);
    assert!(none.starts_with("none: khavip may not load"), "{none}");
    assert!(none.contains("no program `nft`"), "{none}");
    let forbidden = check(&["setpriv", "--bounding-set", "-bpf,-sys_admin,-net_admin"]);
    assert!(forbidden.contains("may not make a table"), "{forbidden}");
}
