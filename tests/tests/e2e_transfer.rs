//! Handing over on purpose, a killed khavip, and a spec that changes while the cluster runs: one cluster, one thing
//! after the other, each of which must leave the VIP on exactly one host, and none of which may give it two holders
//! meanwhile.

use std::time::Duration;

use khactl_lab::oracle::Oracle;
use khactl_lab::{Signal, VIP};
use khactl_tests::{Cluster, LONG, SOON, SPEC, until};
use serde_json::{Value, json};

const HOSTS: usize = 3;

#[test]
fn the_vip_and_the_leadership_go_where_they_are_sent_and_a_killed_khavip_comes_back() {
    let cluster = Cluster::boot("e2etransfer", HOSTS);
    let oracle = match Oracle::start(cluster.lab(), &[VIP.into()]) {
        Ok(oracle) => oracle,
        Err(error) => panic!("the oracle does not start: {error}"),
    };
    cluster.form(&cluster.spec());
    let parts: [fn(&Cluster); 9] = [
        the_vip_goes_to_every_host,
        who_cannot_have_it_is_told_why,
        the_leadership_goes_to_every_host,
        the_spec_changes_while_the_cluster_runs,
        the_balancers_change_while_the_cluster_runs,
        a_killed_khavip_is_released_and_started_again,
        a_khavip_killed_while_khad_is_dead_is_released_by_the_next_khad,
        a_khavip_that_is_asked_to_end_hands_over,
        a_host_on_its_way_down_hands_over_and_stands_back,
    ];
    for part in parts {
        part(&cluster);
        one_holder_at_any_time(&oracle);
    }
}

/// Panics if two hosts answered for the VIP at once, since the cluster was made.
#[track_caller]
fn one_holder_at_any_time(oracle: &Oracle) {
    let answers = match oracle.answers() {
        Ok(answers) => answers,
        Err(error) => panic!("the oracle saw not everything: {error}"),
    };
    let spans = answers.spans().iter();
    let (arp, ip) = spans.fold((0, 0), |(arp, ip), span| (arp + span.arp, ip + span.ip));
    assert!(arp > 0 && ip > 0, "the oracle saw {arp} ARP and {ip} IP");
    let overlaps = answers.overlaps(Duration::ZERO, Duration::MAX);
    assert!(overlaps.is_empty(), "two at once: {overlaps:?}");
}

#[track_caller]
fn printed(cluster: &Cluster, host: &str, arguments: &[&str]) -> Value {
    let printed = cluster.khactl(host, arguments).ok();
    match serde_json::from_str(&printed) {
        Ok(value) => value,
        Err(error) => panic!("{arguments:?} printed {printed:?}: {error}"),
    }
}

/// The host after this one in the order of names.
fn next(host: &str) -> String {
    let number: usize = host.trim_start_matches("cp").parse().unwrap_or(0);
    format!("cp{}", number % HOSTS + 1)
}

fn the_vip_goes_to_every_host(cluster: &Cluster) {
    for _ in 0..HOSTS {
        let from = cluster.holder();
        let to = next(&from);
        // Asked of a host that neither has it nor gets it.
        let asked = next(&to);
        cluster.step(&format!(
            "{asked} is asked to move the VIP from {from} to {to}"
        ));
        let answer = printed(cluster, &asked, &["vip", "transfer", &to]);
        assert_eq!(answer, json!({"moved": true, "from": from, "to": to}));
        assert_eq!(cluster.holders(), [to.as_str()]);
        let again = printed(cluster, &from, &["vip", "transfer", &to]);
        assert_eq!(again["moved"], false, "{again}");
    }
    cluster.put("after-three-transfers");
}

fn who_cannot_have_it_is_told_why(cluster: &Cluster) {
    let holder = cluster.holder();
    let other = next(&holder);
    cluster.step(&format!(
        "khavip of {other} is stopped: it cannot have the VIP"
    ));
    let of = |name: &str| cluster.khactl(&holder, &["vip", "transfer", name]);
    of("cp9").refused_with("KHA2020");
    cluster.host(&other).signal("khavip", Signal::STOP);
    let refusal = of(&other).refused_with("KHA2204");
    assert!(refusal.wrong.contains(&other), "{refusal:?}");
    cluster.host(&other).signal("khavip", Signal::CONT);
    assert_eq!(cluster.holders(), [holder.as_str()], "the VIP moved");
    cluster
        .khactl(&holder, &["leader", "transfer", "cp9"])
        .refused_with("KHA2020");
}

fn the_leadership_goes_to_every_host(cluster: &Cluster) {
    for _ in 0..HOSTS {
        let from = cluster.leader();
        let to = next(&from);
        let asked = next(&to);
        cluster.step(&format!(
            "{asked} is asked to let {to} lead instead of {from}"
        ));
        let answer = printed(cluster, &asked, &["leader", "transfer", &to]);
        assert_eq!(answer["to"], json!(to), "{answer}");
        let leads = until(&format!("{to} leads"), SOON, || {
            cluster
                .leaders_status()?
                .leader
                .filter(|leader| *leader == to)
        });
        let again = printed(cluster, &leads, &["leader", "transfer", &to]);
        assert_eq!(again["moved"], false, "{again}");
    }
}

fn the_spec_changes_while_the_cluster_runs(cluster: &Cluster) {
    let holder = cluster.holder();
    let asked = next(&holder);
    let present = printed(cluster, &asked, &["config", "show"]);
    assert_eq!(present["revision"], 1, "{present}");
    let text = present["spec"].as_str().unwrap_or_default().to_owned();
    let apply = |text: &str| {
        cluster.write(&asked, SPEC, text);
        cluster.khactl(&asked, &["config", "apply", "-f", SPEC])
    };

    cluster.step("a spec with a mistake, and one that would change the network, are refused");
    let refusal = apply(&text.replace("profile: lan", "profile: slow")).refusal();
    assert!(refusal.wrong.contains("spec.vip.profile"), "{refusal:?}");
    apply(&text.replace("10.244.0.0/16", "10.245.0.0/16")).refused_with("KHA2319");

    cluster.step("the lease becomes shorter, then longer, and the VIP stays");
    for (revision, from, to, lease_ms) in [
        (2, "profile: lan", "profile: fast", 60),
        (3, "profile: lan", "profile: wan", 2000),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        let outcome = apply(&changed).ok();
        let outcome: Value = serde_json::from_str(&outcome).unwrap_or_default();
        assert_eq!(outcome["revision"], revision, "{outcome}");
        until("every host works with the new lease time", SOON, || {
            let status = cluster.leaders_status()?;
            (status.revision == revision && status.vip.lease_ms == lease_ms).then_some(())
        });
        cluster.await_ready(HOSTS);
        assert_eq!(cluster.holders(), [holder.as_str()], "the VIP moved");
    }

    let preferred = next(&asked);
    assert_ne!(preferred, holder);
    cluster.step(&format!(
        "{preferred} is preferred: it takes the VIP, also back from where it is sent"
    ));
    let changed = text
        .replace("preference: []", &format!("preference: [{preferred}]"))
        .replace("failback: false", "failback: true");
    apply(&changed).ok();
    has_vip(cluster, &preferred);
    cluster.await_ready(HOSTS);
    printed(cluster, &asked, &["vip", "transfer", &asked]);
    has_vip(cluster, &preferred);
    cluster.await_ready(HOSTS);

    cluster.step("the first revision comes back");
    let back = printed(cluster, &holder, &["config", "rollback", "1"]);
    assert_eq!(back["revision"], 5, "{back}");
    let history = printed(cluster, &holder, &["config", "history"]);
    let known: Vec<_> = history["revisions"]
        .as_array()
        .map(|all| all.iter().map(|entry| entry["revision"].clone()).collect())
        .unwrap_or_default();
    assert_eq!(known, [5, 4, 3, 2, 1].map(Value::from));
    cluster.await_ready(HOSTS);
    assert_eq!(cluster.holders(), [preferred.as_str()], "the VIP moved");
}

/// Waits until that host alone says that it has the VIP.
#[track_caller]
fn has_vip(cluster: &Cluster, host: &str) {
    until(&format!("{host} holds the VIP"), LONG, || {
        (cluster.holders() == [host]).then_some(())
    });
}

fn the_balancers_change_while_the_cluster_runs(cluster: &Cluster) {
    let holder = cluster.holder();
    let present = printed(cluster, &holder, &["config", "show"]);
    let text = present["spec"].as_str().unwrap_or_default().to_owned();
    let apply = |weights: &str| {
        let changed = text
            .replace("method: round-robin", "method: least-connections")
            .replace("weights: {}", weights);
        assert!(changed.contains(weights), "{text}");
        cluster.write(&holder, SPEC, &changed);
        cluster.khactl(&holder, &["config", "apply", "-f", SPEC])
    };
    cluster.step(
        "a weight for a host that there is none of is refused, one for a host is in force at once",
    );
    apply("weights: {cp9: 2}").refused_with("KHA2320");
    apply("weights: {cp1: 5}").ok();
    let everywhere = |weight: u32| {
        until("every balancer works with the new weight", SOON, || {
            let of_first = |host: &String| {
                let status = cluster.vip_status(host)?;
                let first = status.backends.into_iter().find(|b| b.host == "cp1")?;
                Some(first.weight)
            };
            let hosts = cluster.names();
            hosts
                .iter()
                .all(|host| of_first(host) == Some(weight))
                .then_some(())
        });
    };
    everywhere(5);
    cluster.put("through-other-weights");
    printed(cluster, &holder, &["config", "rollback", "1"]);
    everywhere(1);
    assert_eq!(cluster.holders(), [holder.as_str()], "the VIP moved");
}

/// The pid of a host's khavip; waits for one.
#[track_caller]
fn khavip(cluster: &Cluster, host: &str) -> u32 {
    until(&format!("{host} runs one khavip"), SOON, || {
        let pids = cluster.component_pids(host);
        match pids.get("khavip").map(Vec::as_slice) {
            Some([pid]) => Some(*pid),
            _ => None,
        }
    })
}

/// How often the host's agent gave up what a dead khavip had held.
fn releases(cluster: &Cluster, host: &str) -> usize {
    let log = cluster.host(host).log_dir().join("khad.log");
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.matches("what it held was given up").count()
}

fn a_killed_khavip_is_released_and_started_again(cluster: &Cluster) {
    for round in 1..=3 {
        let holder = cluster.holder();
        let before = khavip(cluster, &holder);
        let released = releases(cluster, &holder);
        cluster.step(&format!(
            "khavip of {holder}, which holds the VIP, is killed: {round}"
        ));
        cluster.host(&holder).signal("khavip", Signal::KILL);
        let successor = until("another host holds the VIP", SOON, || {
            match cluster.holders().as_slice() {
                [one] if *one != holder => Some(one.clone()),
                _ => None,
            }
        });
        assert_ne!(successor, holder);
        // By a process that is named khavip too.
        until("what it held is given up", SOON, || {
            (releases(cluster, &holder) > released).then_some(())
        });
        until("another khavip runs", SOON, || {
            let pids = cluster.component_pids(&holder);
            let pids = pids.get("khavip")?;
            (pids.len() == 1 && pids[0] != before).then_some(())
        });
        assert_eq!(releases(cluster, &holder), released + 1);
        cluster.put(&format!("after-kill-{round}"));
    }
    cluster.await_ready(HOSTS);
}

fn a_khavip_killed_while_khad_is_dead_is_released_by_the_next_khad(cluster: &Cluster) {
    let holder = cluster.holder();
    let released = releases(cluster, &holder);
    cluster.step(&format!(
        "khad and khavip of {holder} are killed, khad comes back"
    ));
    cluster.kill_agent(&holder);
    cluster.host(&holder).signal("khavip", Signal::KILL);
    cluster.put("without-khad-and-khavip");
    cluster.start_agent(&holder);
    // Nobody answers at the address that the dead one left, and it is there until this.
    until("the next khad gives up what it held", SOON, || {
        (releases(cluster, &holder) > released).then_some(())
    });
    cluster.await_ready(HOSTS);
    assert_eq!(releases(cluster, &holder), released + 1);
}

fn a_khavip_that_is_asked_to_end_hands_over(cluster: &Cluster) {
    let holder = cluster.holder();
    let before = khavip(cluster, &holder);
    cluster.step(&format!("khavip of {holder} gets SIGTERM"));
    cluster.host(&holder).signal("khavip", Signal::TERM);
    until("another host holds the VIP", SOON, || {
        match cluster.holders().as_slice() {
            [one] if *one != holder => Some(()),
            _ => None,
        }
    });
    until("another khavip runs", SOON, || {
        let pids = cluster.component_pids(&holder);
        let pids = pids.get("khavip")?;
        (pids.len() == 1 && pids[0] != before).then_some(())
    });
    cluster.await_ready(HOSTS);
}

fn a_host_on_its_way_down_hands_over_and_stands_back(cluster: &Cluster) {
    let holder = cluster.holder();
    cluster.step(&format!("{holder} hands over for its shutdown"));
    let arguments = ["hand-over", "--rest", "600"];
    let handed = cluster.run(&holder, "khavip", &arguments);
    assert!(handed.is_ok(), "{handed}");
    until("another host holds the VIP", SOON, || {
        match cluster.holders().as_slice() {
            [one] if *one != holder => Some(()),
            _ => None,
        }
    });
    let asked = next(&holder);
    let refusal = cluster
        .khactl(&asked, &["vip", "transfer", &holder])
        .refused_with("KHA2205");
    assert!(refusal.wrong.contains("stand back"), "{refusal:?}");
    cluster.step("it is taken back");
    let back = cluster.run(&holder, "khavip", &["hand-over", "--rest", "0"]);
    assert!(back.is_ok(), "{back}");
    printed(cluster, &asked, &["vip", "transfer", &holder]);
    assert_eq!(cluster.holders(), [holder.as_str()]);
}
