//! What bad input gets: a message and a code of its own, and nothing half done.

use std::collections::BTreeSet;

use khactl_tests::{BundleCopy, Cluster, Outcome, SOON, SPEC, SmallDisk, Trace, until};
use serde_json::Value;

/// Kept by a host that asks to join, so that its next try is the same host's.
const JOINERS_KEY: &str = "pki/khad/tls.key";

/// Four mistakes and where they stand.
const MISTAKES: &str = "\
apiVersion: khactl.io/v1alpha1
kind: Cluster
metadata:
  name: prod
spec:
  vip:
    addresses: [10.77.0.100/24]
    profil: lan
  balancer:
    port: 70000
  controlPlane:
    kubernetesVersion: latest
    bundle: bundles/v1.20.2
";
const PLACES: [(&str, &str); 4] = [
    ("8:5", "KHA1002"),
    ("10:11", "KHA1007"),
    ("12:24", "KHA1003"),
    ("13:13", "KHA1003"),
];

#[test]
fn bad_input_is_refused_each_with_its_own_code_and_changes_nothing() {
    let cluster = Cluster::boot("e2ebad", 3);
    let mut codes = Codes::default();
    init_refuses(&cluster, &mut codes);

    cluster.step("the same host still becomes the first of a cluster");
    cluster.init("cp1").ok();
    join_refuses(&cluster, &mut codes);

    cluster.step("the same host still joins");
    let token = cluster.token("cp1", &[]);
    cluster.join("cp2", "cp1", &token).ok();
    cluster.await_ready(2);

    cluster.step("join with a token that is used up");
    let before = Trace::of(cluster.host("cp3")).without(JOINERS_KEY);
    let refused = cluster.join("cp3", "cp1", &token);
    codes.note(&refused, "KHA2013");
    unchanged(&cluster, "cp3", &before, "a used token");
    let members: Vec<_> = cluster
        .leaders_status()
        .map(|status| status.hosts.into_iter().map(|host| host.name).collect())
        .unwrap_or_default();
    assert_eq!(members, ["cp1", "cp2"]);
}

/// Every kind of bad input has a code of its own.
#[derive(Default)]
struct Codes {
    seen: BTreeSet<String>,
}

impl Codes {
    #[track_caller]
    fn note(&mut self, outcome: &Outcome, code: &str) -> String {
        let refusal = outcome.refused_with(code);
        assert!(self.seen.insert(refusal.code), "{code} was given before");
        refusal.wrong
    }
}

#[track_caller]
fn unchanged(cluster: &Cluster, host: &str, before: &Trace, after_what: &str) {
    let now = Trace::of(cluster.host(host)).without(JOINERS_KEY);
    now.assert_same(before, after_what);
}

fn init_refuses(cluster: &Cluster, codes: &mut Codes) {
    let before = Trace::of(cluster.host("cp1"));
    let good = cluster.spec();

    cluster.step("init with four mistakes in its spec");
    let wrong = codes.note(&cluster.init_with("cp1", MISTAKES), "KHA1000");
    assert_eq!(wrong.lines().count(), PLACES.len(), "{wrong}");
    for (line, (place, code)) in wrong.lines().zip(PLACES) {
        assert!(line.starts_with(&format!("{SPEC}:{place}: ")), "{line}");
        assert!(line.contains(&format!("({code})")), "{line}");
    }
    unchanged(cluster, "cp1", &before, "a spec with mistakes");

    cluster.step("init with a VIP that is the host's own address");
    let own = format!("{}/24", cluster.host("cp1").address());
    let spec = good.clone().vip(&own).yaml();
    let wrong = codes.note(&cluster.init_with("cp1", &spec), "KHA1020");
    assert!(wrong.contains(&format!("{SPEC}:7:")), "{wrong}");
    unchanged(cluster, "cp1", &before, "a VIP that is taken");

    cluster.step("init with a VIP outside the interface's network");
    let spec = good.clone().vip("10.78.0.100/24").yaml();
    let wrong = codes.note(&cluster.init_with("cp1", &spec), "KHA1021");
    assert!(wrong.contains("10.78.0.100"), "{wrong}");
    unchanged(cluster, "cp1", &before, "a VIP outside the network");

    cluster.step("init beside a program that has a port");
    let foreign = cluster.start("cp1", "etcd", &["--data-dir", "/run/khactl/foreign"]);
    until("the port is taken", SOON, || {
        let found = cluster.khactl("cp1", &["preflight"]);
        found.stdout.contains("KHA1105").then_some(())
    });
    let refused = cluster.init("cp1");
    foreign.kill();
    let wrong = codes.note(&refused, "KHA1105");
    assert!(wrong.contains("2379") && wrong.contains("etcd"), "{wrong}");
    until("the port is free again", SOON, || {
        // One that is ending has no name for a moment.
        let left = cluster.host("cp1").processes();
        left.iter().all(|p| p.name == "khad").then_some(())
    });
    unchanged(cluster, "cp1", &before, "a taken port");

    cluster.step("init with a bundle that lacks a program");
    let spoilt = BundleCopy::make();
    spoilt.remove("kube-scheduler");
    let spec = good.clone().bundle(&spoilt.path()).yaml();
    let wrong = codes.note(&cluster.init_with("cp1", &spec), "KHA1108");
    assert!(wrong.contains("kube-scheduler is missing"), "{wrong}");
    unchanged(cluster, "cp1", &before, "a bundle that lacks a program");

    cluster.step("init with a bundle in which one byte was changed");
    let spoilt = BundleCopy::make();
    spoilt.alter("kube-scheduler");
    let spec = good.bundle(&spoilt.path()).yaml();
    let wrong = codes.note(&cluster.init_with("cp1", &spec), "KHA1109");
    assert!(wrong.contains("kube-scheduler was altered"), "{wrong}");
    unchanged(cluster, "cp1", &before, "an altered bundle");
}

fn join_refuses(cluster: &Cluster, codes: &mut Codes) {
    let good = cluster.token("cp1", &["--ttl", "30m"]);
    let before = Trace::of(cluster.host("cp2")).without(JOINERS_KEY);
    let check = |what: &str| {
        unchanged(cluster, "cp2", &before, what);
        let members = cluster.leaders_status().map(|status| status.hosts.len());
        assert_eq!(members, Some(1), "{what} left something in the cluster");
        assert_eq!(uses_left(cluster, &good), 1, "{what} used a token up");
    };

    cluster.step("join with something that is no token");
    codes.note(&cluster.join("cp2", "cp1", "secret"), "KHA2065");
    check("no token");

    cluster.step("join with a wrong pin");
    codes.note(&cluster.join("cp2", "cp1", &other_pin(&good)), "KHA2068");
    check("a wrong pin");

    cluster.step("join with a token that the cluster does not know");
    codes.note(&cluster.join("cp2", "cp1", &other_secret(&good)), "KHA2010");
    check("a wrong secret");

    cluster.step("join with a token that was revoked");
    let token = cluster.token("cp1", &[]);
    cluster.khactl("cp1", &["token", "revoke", id(&token)]).ok();
    codes.note(&cluster.join("cp2", "cp1", &token), "KHA2012");
    check("a revoked token");

    cluster.step("join with a token of another host");
    let token = cluster.token("cp1", &["--host", "cp9"]);
    codes.note(&cluster.join("cp2", "cp1", &token), "KHA2019");
    check("another host's token");

    cluster.step("join with a token that has expired");
    let token = cluster.token("cp1", &["--ttl", "1s"]);
    until("the token expires", SOON, || {
        (listed(cluster, &token)?["state"] == "expired").then_some(())
    });
    codes.note(&cluster.join("cp2", "cp1", &token), "KHA2011");
    check("an expired token");

    let own = cluster.host("cp2").address().to_string();
    cluster.step("join under the name of a member");
    cluster.restart_agent_as("cp2", "cp1", &own, &[]);
    codes.note(&cluster.join("cp2", "cp1", &good), "KHA2014");
    check("a member's name");

    cluster.step("join with a clock that is off by more than 2 s");
    for offset_ms in ["3000", "-3000"] {
        let env = [("KHACTL_CLOCK_OFFSET_MS", offset_ms)];
        cluster.restart_agent_as("cp2", "cp2", &own, &env);
        let refused = cluster.join("cp2", "cp1", &good);
        refused.refused_with("KHA2032");
        check("a wrong clock");
    }
    assert!(codes.seen.insert("KHA2032".to_owned()));

    cluster.step("join with an address that nobody has");
    cluster.restart_agent_as("cp2", "cp2", "10.77.0.99", &[]);
    codes.note(&cluster.join("cp2", "cp1", &good), "KHA1102");
    check("an address of nobody");

    cluster.step("join from behind a wall: the leader cannot reach the host back");
    cluster.restart_agent("cp2");
    let wall = "add table inet wall; \
                add chain inet wall in { type filter hook input priority 0; }; \
                add rule inet wall in tcp dport 9443 drop";
    cluster.run("cp2", "nft", &[wall]).ok();
    let refused = cluster.join("cp2", "cp1", &good);
    cluster.run("cp2", "nft", &["delete table inet wall"]).ok();
    let wrong = codes.note(&refused, "KHA2033");
    assert!(wrong.contains(&own), "{wrong}");
    check("an unreachable address");

    cluster.step("join while the leader's frames do not arrive");
    if let Err(error) = cluster.lab().cut_one_way("cp1", "cp2") {
        panic!("{error}");
    }
    let refusal = cluster.join("cp2", "cp1", &good).refusal();
    if let Err(error) = cluster.lab().heal_all() {
        panic!("{error}");
    }
    assert!(codes.seen.insert(refusal.code));
    check("a cut network");
}

fn id(token: &str) -> &str {
    token.split('.').next().unwrap_or_default()
}

/// The token as `khactl token list` shows it.
fn listed(cluster: &Cluster, token: &str) -> Option<Value> {
    let printed = cluster.khactl("cp1", &["token", "list"]).ok();
    let tokens: Value = serde_json::from_str(&printed).ok()?;
    let entries = tokens["tokens"].as_array()?;
    entries
        .iter()
        .find(|entry| entry["id"] == id(token))
        .cloned()
}

fn uses_left(cluster: &Cluster, token: &str) -> u64 {
    listed(cluster, token)
        .and_then(|entry| entry["uses_left"].as_u64())
        .unwrap_or_default()
}

/// The token with one digit of its part `part` changed.
fn changed(token: &str, part: usize) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let digit = if parts[part].starts_with('0') {
        "1"
    } else {
        "0"
    };
    parts[part].replace_range(..1, digit);
    parts.join(".")
}

fn other_secret(token: &str) -> String {
    changed(token, 1)
}

fn other_pin(token: &str) -> String {
    changed(token, 2)
}

/// Room for a control plane, and above what `preflight` asks for.
const DISK_MEBIBYTES: u64 = 1200;
/// etcd has room in files that it made long before (64 MiB): so much does not fit into those.
const CONFIG_MAPS: usize = 120;
const CONFIG_MAP_BYTES: usize = 700_000;

#[test]
fn a_full_disk_is_told_loses_nothing_acknowledged_and_is_over_when_there_is_room() {
    let cluster = Cluster::boot("e2edisk", 1);
    let disk = SmallDisk::put_under(&cluster, "cp1", DISK_MEBIBYTES);
    cluster.init("cp1").ok();
    cluster.client_kubeconfig("cp1");
    cluster.await_ready(1);
    cluster.put("before");
    let kept = cluster.token("cp1", &["--ttl", "30m"]);

    cluster.step("the disk fills up");
    disk.fill(512);
    let refused = until("the agent refuses what it cannot keep", SOON, || {
        let outcome = cluster.khactl("cp1", &["token", "create"]);
        (!outcome.is_ok()).then_some(outcome)
    });
    let refusal = refused.refused_with("KHA3016");
    assert!(refusal.wrong.contains("full"), "{}", refusal.wrong);
    assert_eq!(
        cluster.host("cp1").processes_named("khad").len(),
        1,
        "the agent ended"
    );
    assert!(listed(&cluster, &kept).is_some(), "a token is lost");

    cluster.step("Kubernetes is written to all the same; what it acknowledges counts");
    let large = "x".repeat(CONFIG_MAP_BYTES);
    let acknowledged: Vec<_> = (0..CONFIG_MAPS)
        .map(|number| format!("large-{number}"))
        .take_while(|name| cluster.try_put(name, &large).is_ok())
        .collect();
    cluster.step(&format!("{} were acknowledged", acknowledged.len()));
    assert!(acknowledged.len() < CONFIG_MAPS, "the disk is not full");
    until("the status says that the disk is full", SOON, || {
        let status = cluster.status("cp1")?;
        let told = |text: &str| text.contains("disk is full");
        status
            .problems
            .iter()
            .any(|problem| told(&problem.text))
            .then_some(())
    });

    cluster.step("there is room again");
    disk.empty();
    until("the agent takes changes again", SOON, || {
        cluster
            .khactl("cp1", &["token", "create"])
            .is_ok()
            .then_some(())
    });
    cluster.await_ready(1);
    assert!(listed(&cluster, &kept).is_some(), "a token is lost");
    cluster.put("after");
    cluster.assert_there(&["before", "after"]);
    let names: Vec<_> = acknowledged.iter().map(String::as_str).collect();
    cluster.assert_there(&names);

    cluster.step("the agent starts again from what it kept");
    cluster.restart_agent("cp1");
    cluster.await_ready(1);
    assert!(listed(&cluster, &kept).is_some(), "a token is lost");
}
