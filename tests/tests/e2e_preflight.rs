//! What `khactl preflight` finds between hosts: before they are a cluster, and in one.

use khactl_lab::VIP;
use khactl_tests::{Cluster, SPEC};
use serde_json::Value;

/// In the hosts' network, and no host's.
const NOBODY: &str = "10.77.0.250";

/// Drops one of etcd's ports without a word.
const CLOSED: &str = "\
table inet closed {
  chain input {
    type filter hook input priority 0
    tcp dport 2380 drop
  }
}";
/// Drops the lease's datagrams.
const DEAF: &str = "\
table inet closed {
  chain input {
    type filter hook input priority 0
    udp dport 9443 drop
  }
}";
const OPENED: [&str; 4] = ["delete", "table", "inet", "closed"];

#[test]
fn what_stands_between_hosts_is_found_before_they_are_a_cluster_and_in_one() {
    let cluster = Cluster::boot("e2epreflight", 2);
    let spec = cluster.spec();
    cluster.write("cp1", SPEC, &spec.yaml());
    let peer = format!("--peer={}", cluster.host("cp2").address());
    let ask = ["preflight", "-f", SPEC, &peer];

    cluster.step("two hosts that reach each other");
    let found = Found::by(&cluster, &ask);
    assert_eq!(found.blocking, 0, "{found:?}");
    assert_eq!(found.codes("paths"), [""], "{found:?}");
    let paths = found.text("paths");
    assert!(
        paths.contains("2379, 2380, 6443, 9443") && paths.contains("1500"),
        "{paths}"
    );
    let answers = |found: &Found| found.text("delay").contains("a majority answers within");
    assert!(answers(&found), "{found:?}");
    assert_eq!(found.codes("vip"), [""], "{found:?}");
    for check in ["kernel", "cgroups", "clock", "fsync", "names", "leftovers"] {
        assert!(!found.codes(check).is_empty(), "{check}: {found:?}");
    }

    cluster.step("somebody who has the VIP already");
    let vip = format!("{VIP}/24");
    let taken = |verb: &str| cluster.run("cp2", "ip", &["addr", verb, &vip, "dev", "eth0"]);
    taken("add").ok();
    let found = Found::by(&cluster, &ask);
    assert_eq!(found.codes("vip"), ["KHA1136"], "{found:?}");
    assert_eq!(found.blocking, 0, "{found:?}");
    let joins = Found::by(&cluster, &["preflight", "-f", SPEC, "--join"]);
    assert_eq!(joins.codes("vip"), [""; 0], "{joins:?}");
    taken("del").ok();

    cluster.step("a host that is not there");
    let nobody = format!("--peer={NOBODY}");
    let found = Found::by(&cluster, &["preflight", "-f", SPEC, &nobody]);
    assert_eq!(found.codes("paths"), ["KHA1131"], "{found:?}");
    assert_eq!(found.blocking, 0, "{found:?}");
    assert!(!answers(&found), "{found:?}");

    cluster.step("a port that a firewall closes");
    cluster.run("cp2", "nft", &[CLOSED]).ok();
    let found = Found::by(&cluster, &ask);
    assert_eq!(found.codes("paths"), ["KHA1130"], "{found:?}");
    assert_eq!(found.blocking, 1, "{found:?}");
    cluster.run("cp2", "nft", &OPENED).ok();

    cluster.step("a firewall that lets no datagram through");
    cluster.run("cp2", "nft", &[DEAF]).ok();
    let found = Found::by(&cluster, &ask);
    assert_eq!(found.codes("paths"), ["KHA1137"], "{found:?}");
    assert_eq!(found.blocking, 0, "{found:?}");
    cluster.run("cp2", "nft", &OPENED).ok();

    cluster.step("a bundle that is nowhere");
    let without = spec.clone().bundle("/opt/khactl/nowhere");
    cluster.write("cp1", SPEC, &without.yaml());
    let found = Found::by(&cluster, &ask);
    assert_eq!(found.codes("bundle"), ["KHA1106"], "{found:?}");
    assert_eq!(found.blocking, 1, "{found:?}");
    let found = Found::by(&cluster, &["preflight", "-f", SPEC, "--join"]);
    assert_eq!(found.codes("bundle"), ["KHA1112"], "{found:?}");
    assert_eq!(found.blocking, 0, "{found:?}");

    cluster.form(&spec);
    cluster.step("a cluster: each host tries its own paths");
    let found = Found::by(&cluster, &["preflight"]);
    assert_eq!(found.codes("paths"), [""], "{found:?}");
    assert!(found.text("paths").starts_with("all 2 paths"), "{found:?}");

    cluster.step("a network that carries less than the interfaces think");
    let mtu = |bytes: &str| cluster.run("cp2", "ip", &["link", "set", "eth0", "mtu", bytes]);
    mtu("1300").ok();
    let found = Found::by(&cluster, &["preflight"]);
    assert_eq!(found.codes("paths"), ["KHA1132"], "{found:?}");
    assert!(
        found.text("paths").starts_with("from cp1: cp2"),
        "{found:?}"
    );
    mtu("1500").ok();

    cluster.step("a member that is cut off");
    if let Err(error) = cluster.lab().cut_pair("cp1", "cp2") {
        panic!("{error}");
    }
    let found = Found::by(&cluster, &["preflight"]);
    assert_eq!(found.codes("paths"), ["KHA1131", "KHA1134"], "{found:?}");
}

/// What `khactl preflight` printed on cp1.
#[derive(Debug)]
struct Found {
    findings: Vec<Value>,
    blocking: u64,
}

impl Found {
    #[track_caller]
    fn by(cluster: &Cluster, arguments: &[&str]) -> Self {
        let outcome = cluster.khactl("cp1", arguments);
        let Ok(printed) = serde_json::from_str::<Value>(&outcome.stdout) else {
            panic!("no findings: {outcome}");
        };
        let blocking = printed["blocking"].as_u64().unwrap_or_default();
        assert_eq!(outcome.code, Some(i32::from(blocking > 0)), "{outcome}");
        Self {
            findings: printed["findings"].as_array().cloned().unwrap_or_default(),
            blocking,
        }
    }

    /// Of a check's findings; empty where one is fine.
    fn codes(&self, check: &str) -> Vec<&str> {
        let of_check = self.findings.iter().filter(|found| found["check"] == check);
        of_check
            .map(|found| found["code"].as_str().unwrap_or_default())
            .collect()
    }

    fn text(&self, check: &str) -> &str {
        let found = self.findings.iter().find(|found| found["check"] == check);
        found
            .and_then(|found| found["finding"].as_str())
            .unwrap_or_default()
    }
}
