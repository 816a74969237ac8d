//! What people meet first, as they meet it: the package, the playbooks and the quick start, on hosts with a real systemd
//! and sshd, from nothing.

mod hosts;
mod package;
mod quick_start;
mod recap;
mod writer;

use std::path::{Path, PathBuf};

use khactl_tests::{COMPONENTS, LONG, SOON, soak, until};
use serde_json::json;

use hosts::{Hosts, repository};
use recap::changes;
use writer::Writer;

const HOSTS: [&str; 3] = ["cp1", "cp2", "cp3"];
const VIP: &str = "10.77.0.100";
/// A task during which a run is killed: the first host is made a cluster.
const FOUNDING: &str = "Found the cluster, or go on with it";
/// What a token looks like, to `grep -E`.
const TOKEN: &str = "[0-9a-f]{32}[.][0-9a-f]{64}";

#[test]
fn playbooks_make_keep_change_and_end_a_cluster() {
    let hosts = Hosts::up("e2erollout", HOSTS.len());
    let first = package::build(hosts.scratch(), "0.1.0", false);
    let inventory = hosts.inventory(&HOSTS, &json!({ "khactl_package": first }));
    let before: Vec<_> = HOSTS.map(|host| traces(&hosts, host)).into();

    nothing_is_changed_before_all_is_checked(&hosts, &inventory, &first);
    a_run_that_was_killed_is_repeated(&hosts, &inventory);
    hosts.await_ready("cp1", HOSTS.len());
    let again = hosts.playbook("site", &inventory, &[]).ok();
    assert!(
        changes(&again).values().all(|changed| *changed == 0),
        "the second run changed something: {again}"
    );
    no_host_wrote_a_token_down(&hosts);

    let inventory = agents_are_upgraded_under_load(&hosts);
    a_host_is_rebooted(&hosts);
    if soak() {
        a_host_loses_its_power(&hosts);
    }
    a_host_goes_and_comes_again(&hosts, &inventory);

    let refused = hosts.playbook("reset", &inventory, &[]);
    assert!(
        refused.stdout.contains("khactl_really=rollout"),
        "{refused}"
    );
    hosts
        .playbook("reset", &inventory, &["-e", "khactl_really=rollout"])
        .ok();
    for (host, before) in HOSTS.iter().zip(&before) {
        assert_eq!(&traces(&hosts, host), before, "left on {host} by the reset");
    }
    a_purged_package_says_what_it_left(&hosts);
}

#[test]
fn the_quick_start_works_word_for_word() {
    let hosts = Hosts::up("e2equick", HOSTS.len());
    let package = package::build(hosts.scratch(), "0.1.0", false);
    for host in HOSTS {
        hosts.bring(host, &package, "khactl_0.1.0_amd64.deb");
    }
    let page = repository().join("docs/quick-start.md");
    let blocks = quick_start::blocks(&page, "Three hosts, by hand");
    assert!(blocks.len() > 5, "only {} blocks found", blocks.len());
    let mut token = String::new();
    for block in blocks {
        for host in &block.hosts {
            hosts.step(&format!("{host}: {}", block.script.replace('\n', "; ")));
            let typed = block.script.replace("TOKEN", &token);
            let printed = hosts.sh(host, &format!("set -e\n{typed}")).ok();
            if block.script.contains("token create") {
                // The last line; what goes before is the progress of init.
                token = printed.lines().last().unwrap_or_default().to_owned();
            }
        }
    }
    hosts.await_ready("cp1", HOSTS.len());
    api_answers_at_the_vip(&hosts, "cp1");
}

/// A check that only pretends, and inventories that cannot work.
fn nothing_is_changed_before_all_is_checked(hosts: &Hosts, inventory: &Path, package: &Path) {
    hosts.playbook("site", inventory, &["--check"]).ok();
    let same_address = json!({ "khactl_package": package, "khactl_address": "10.77.0.11" });
    let outside = json!({ "khactl_package": package, "khactl_vip_addresses": ["10.99.0.100/24"] });
    let missing = json!({ "khactl_package": "/nowhere.deb" });
    for (vars, words) in [
        (same_address, "have the same address 10.77.0.11"),
        (outside, "is not in the network of cp1"),
        (missing, "there is no /nowhere.deb"),
    ] {
        let refused = hosts.playbook("site", &hosts.inventory(&HOSTS, &vars), &[]);
        assert!(!refused.is_ok(), "{words}: {refused}");
        assert!(refused.stdout.contains(words), "{words}: {refused}");
    }
    for host in HOSTS {
        let found = hosts
            .sh(
                host,
                "ls -d /etc/khactl /usr/bin/khad /run/khactl-turn 2>/dev/null || true",
            )
            .ok();
        assert_eq!(found, "", "changed on {host}");
    }
}

/// Killed in the middle, refused to somebody else, repeated by the same person.
fn a_run_that_was_killed_is_repeated(hosts: &Hosts, inventory: &Path) {
    let run = hosts.start_playbook("admin", "site", inventory, &[]);
    assert!(run.shows(LONG, |line| line.contains(FOUNDING)));
    hosts.step("killing the run while the first host is founded");
    run.kill();
    let other = hosts
        .start_playbook("mallory", "site", inventory, &[])
        .wait(LONG);
    assert!(!other.is_ok(), "{other}");
    assert!(
        other.stdout.contains("changes this cluster since"),
        "{other}"
    );

    let repeated = hosts.playbook("site", inventory, &[]).ok();
    assert!(
        changes(&repeated).values().any(|changed| *changed > 0),
        "{repeated}"
    );
}

fn no_host_wrote_a_token_down(hosts: &Hosts) {
    for host in HOSTS {
        let found = hosts
            .sh(
                host,
                &format!("journalctl --no-pager -o cat | grep -E '{TOKEN}' || true"),
            )
            .ok();
        assert_eq!(found, "", "a token is in the journal of {host}");
    }
}

/// No component but khavip is another one afterwards, and every acknowledged write is there. Gives the inventory with the
/// new package.
fn agents_are_upgraded_under_load(hosts: &Hosts) -> PathBuf {
    let next = package::build(hosts.scratch(), "0.2.0", true);
    let inventory = hosts.inventory(&HOSTS, &json!({ "khactl_package": next }));
    let running = |program: &str| HOSTS.map(|host| hosts.pid(host, program));
    let stay = ["etcd", "kube-apiserver", "kube-scheduler"];
    let stayed = stay.map(running);
    let replaced = ["khad", "khavip"].map(running);

    let writer = Writer::start(hosts);
    hosts.playbook("upgrade_agent", &inventory, &[]).ok();
    let (acknowledged, lost) = writer.judge(hosts);
    hosts.step(&format!("{acknowledged} writes through the upgrades"));
    assert!(
        acknowledged > 0 && lost == 0,
        "{lost} of {acknowledged} lost"
    );

    assert_eq!(stay.map(running), stayed, "a component was started anew");
    for (before, after) in replaced.iter().zip(["khad", "khavip"].map(running)) {
        for (before, after) in before.iter().zip(after) {
            assert_ne!(before, &after, "it is still the old one");
        }
    }
    inventory
}

/// It hands over on its way down, and comes back by itself.
fn a_host_is_rebooted(hosts: &Hosts) {
    let boot = |host| {
        hosts
            .sh(host, "cat /run/khactl-test-boot 2>/dev/null")
            .stdout
    };
    hosts.sh("cp2", "echo before > /run/khactl-test-boot").ok();
    hosts.sh("cp2", "systemctl reboot");
    until("cp2 has begun anew", LONG, || {
        let up = hosts.sh("cp2", "true").is_ok();
        (up && boot("cp2").is_empty()).then_some(())
    });
    hosts.await_ready("cp2", HOSTS.len());
}

fn a_host_loses_its_power(hosts: &Hosts) {
    hosts.script("kill", &["cp1"]).ok();
    until("the status calls cp1 silent", SOON, || {
        let status = hosts.status("cp2")?;
        let all = status["hosts"].as_array()?;
        let found = all.iter().find(|host| host["name"] == "cp1")?;
        (found["state"] == "silent").then_some(())
    });
    api_answers_at_the_vip(hosts, "cp2");
    hosts.script("start", &["cp1"]).ok();
    hosts.await_ready("cp1", HOSTS.len());
}

/// Refused with the numbers, then done; and the same machine joins as a new host.
fn a_host_goes_and_comes_again(hosts: &Hosts, inventory: &Path) {
    let leaving = ["-e", "khactl_leaving=cp3"];
    let refused = hosts.playbook("remove_host", inventory, &leaving);
    assert!(
        !refused.is_ok() && refused.stdout.contains("KHA"),
        "{refused}"
    );
    let forced = ["-e", "khactl_leaving=cp3", "-e", "khactl_force=true"];
    hosts.playbook("remove_host", inventory, &forced).ok();
    hosts.await_ready("cp1", HOSTS.len() - 1);
    assert_eq!(components(hosts, "cp3"), "", "runs on cp3 still");
    hosts.playbook("add_host", inventory, &[]).ok();
    hosts.await_ready("cp1", HOSTS.len());
}

fn a_purged_package_says_what_it_left(hosts: &Hosts) {
    let said = hosts.sh("cp1", "dpkg --purge khactl 2>&1").ok();
    assert!(
        said.contains("left in place") && said.contains("/etc/khactl"),
        "{said}"
    );
    let found = hosts
        .sh(
            "cp1",
            "ls -d /usr/bin/khad /usr/lib/khactl /etc/khactl 2>/dev/null || true",
        )
        .ok();
    assert_eq!(found.trim(), "/etc/khactl", "{said}");
}

#[track_caller]
fn api_answers_at_the_vip(hosts: &Hosts, by: &str) {
    let kubectl = "khactl kubeconfig > /root/admin.conf && grep -q 10.77.0.100 /root/admin.conf && \
                   /opt/khactl/bundles/v1.20.2/kubectl --kubeconfig /root/admin.conf get namespace default -o name";
    until("the API answers at the VIP", SOON, || {
        let answer = hosts.sh(by, kubectl);
        (answer.stdout.trim() == "namespace/default").then_some(())
    });
}

/// The components that run on a host.
fn components(hosts: &Hosts, host: &str) -> String {
    let names = COMPONENTS.map(|name| name.chars().take(15).collect::<String>());
    hosts
        .sh(
            host,
            &format!("ps -e -o comm= | grep -x -E '{}' || true", names.join("|")),
        )
        .ok()
}

/// What khactl leaves on a host that has it: processes, addresses, rules, filters, permanent neighbours.
fn traces(hosts: &Hosts, host: &str) -> String {
    let looked = hosts
        .sh(
            host,
            "ip -o addr show dev eth0 | grep -c ' 10[.]77[.]'; nft list tables; ip neigh show nud permanent; \
             tc filter show dev eth0 ingress 2>/dev/null; \
             find /sys/fs/cgroup/unified/khactl -mindepth 1 -type d 2>/dev/null; \
             find /var/lib/khactl/etcd /var/lib/khactl/raft /var/lib/khactl/pki -type f 2>/dev/null; true",
        )
        .ok();
    format!("{}{looked}", components(hosts, host)).replace(VIP, "the VIP")
}
