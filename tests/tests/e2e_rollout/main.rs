//! What people meet first, as they meet it: the package, the playbooks and the quick start, on hosts with a real systemd
//! and sshd, from nothing.

mod inventories;
mod mirror;
mod quick_start;
mod recap;
mod tarball;
mod traces;
mod writer;

use std::fs;
use std::path::{Path, PathBuf};

use khactl_lab::measure::Measurement;
use khactl_tests::{Hosts, LONG, Packages, SOON, programs_dir, repository, soak, until};
use serde_json::{Value, json};

use inventories::but;
use recap::{changes, shows_a_token};
use traces::Traces;
use writer::Writer;

const HOSTS: [&str; 3] = ["cp1", "cp2", "cp3"];
/// Where the roll-out's bundle comes to lie.
const BUNDLE: &str = "/var/lib/khactl/bundles/v1.20.2";
/// Where clients find the API.
const VIP: &str = "10.77.0.100:6443";
/// The first task that changes a host: the run has the turn.
const INSTALLING: &str = "Tell the agent who it is";
/// A task during which a run is killed: the first host is made a cluster.
const FOUNDING: &str = "Found the cluster, or go on with it";
/// What the package has for people; fails where something is missing or cannot be read.
const PAGES_AND_COMPLETIONS: &str = "set -e; cd /usr/share; \
    for page in man1/khactl.1 man1/khactl-init.1 man8/khad.8 man8/khavip.8; do zcat man/$page.gz | grep -q '^.TH'; done; \
    bash -n bash-completion/completions/khactl; \
    test -s zsh/vendor-completions/_khactl; test -s fish/vendor_completions.d/khactl.fish";
/// What a token looks like, to `grep -E`.
const TOKEN: &str = "[0-9a-f]{32}[.][0-9a-f]{64}";

#[test]
fn playbooks_make_keep_change_and_end_a_cluster() {
    let hosts = Hosts::up("e2erollout", HOSTS.len());
    let first = Packages::build(hosts.scratch(), "0.1.0", false).deb;
    let (file, digest) = hosts.bundle_file();
    let vars = json!({
        "khactl_package": first,
        "khactl_bundle": BUNDLE,
        "khactl_bundle_source": file,
        "khactl_bundle_digest": digest,
    });
    let inventory = hosts.inventory(&HOSTS, &vars);

    inventories::that_cannot_work_change_nothing(&hosts, &vars);
    let idle = a_run_is_killed_when_the_first_host_is_founded(&hosts, &inventory);
    other_runs_are_refused_while_it_is_repeated(&hosts, &inventory);
    hosts.await_ready("cp1", HOSTS.len());
    let again = hosts.playbook("site", &inventory, &[]).ok();
    assert!(
        changes(&again).values().all(|changed| *changed == 0),
        "the second run changed something: {again}"
    );
    let looked = hosts.playbook("site", &inventory, &["--check"]).ok();
    assert!(
        changes(&looked).values().all(|changed| *changed == 0),
        "a check of what is there would change it: {looked}"
    );
    every_host_has_the_bundle(&hosts, &digest);
    no_host_wrote_a_token_down(&hosts);
    the_unit_is_as_closed_as_its_page_says(&hosts);
    hosts.sh("cp1", PAGES_AND_COMPLETIONS).ok();
    the_package_is_removed_and_installed_again(&hosts, &first);

    agents_are_restarted_and_no_client_notices(&hosts);
    let inventory = agents_are_upgraded_under_load(&hosts, &vars);
    a_host_is_rebooted(&hosts);
    a_host_loses_its_power(&hosts, "cp1");
    if soak() {
        hosts.script("start", &["cp1"]).ok();
        hosts.await_ready("cp1", HOSTS.len());
        a_host_loses_its_power(&hosts, "cp1");
    }
    a_dead_host_is_replaced(&hosts, &inventory, "cp1");
    a_host_goes_and_comes_again(&hosts, &inventory, &idle);

    let refused = hosts.playbook("reset", &inventory, &[]);
    assert!(
        refused.stdout.contains("khactl_really=rollout"),
        "{refused}"
    );
    hosts
        .playbook("reset", &inventory, &["-e", "khactl_really=rollout"])
        .ok();
    for host in HOSTS {
        idle.await_again(&hosts, host, "the reset");
        let turn = hosts.sh(host, "ls /run/khactl-turn* 2>/dev/null || true");
        assert_eq!(turn.ok(), "", "the turn was not given back on {host}");
    }
    a_purged_package_says_what_it_left(&hosts);
}

/// Gives what an idle agent has on its host: by then all are installed, and the others are still no members.
fn a_run_is_killed_when_the_first_host_is_founded(hosts: &Hosts, inventory: &Path) -> Traces {
    let run = hosts.start_playbook("admin", "site", inventory, &[]);
    assert!(run.shows(LONG, |line| line.contains(FOUNDING)));
    hosts.step("killing the run while the first host is founded");
    let printed = run.lines().join("\n");
    run.kill();
    // What each host was found fit by is told before.
    assert!(
        printed.contains("ok      ports: all that are needed are free"),
        "{printed}"
    );
    assert!(
        printed.contains("mended  bundle: ") && !printed.contains("BLOCKS"),
        "{printed}"
    );
    Traces::of(hosts, "cp2")
}

/// The same person takes the killed run up. Another one, and that person in a second terminal, are told who is at work.
fn other_runs_are_refused_while_it_is_repeated(hosts: &Hosts, inventory: &Path) {
    // As talkative as somebody makes it who looks for a fault.
    let run = hosts.start_playbook("admin", "site", inventory, &["-vvv"]);
    assert!(run.shows(LONG, |line| line.contains(INSTALLING)));
    let others =
        ["mallory", "admin"].map(|user| hosts.start_playbook(user, "site", inventory, &[]));
    for other in others {
        let other = other.wait(LONG);
        assert!(!other.is_ok(), "{other}");
        assert!(
            other.stdout.contains("admin@") && other.stdout.contains("changes this cluster since"),
            "{other}"
        );
        assert!(
            !other.stdout.contains(INSTALLING),
            "it went on all the same: {other}"
        );
    }
    hosts.step("the two other runs were refused");

    let repeated = run.wait(LONG * 2).ok();
    hosts.step("the repeated run has ended");
    assert!(!shows_a_token(&repeated), "Ansible shows a token");
    assert!(
        changes(&repeated).values().any(|changed| *changed > 0),
        "{repeated}"
    );
}

/// Ansible brought it to one; the others fetched it there.
fn every_host_has_the_bundle(hosts: &Hosts, digest: &str) {
    for host in HOSTS {
        let listed = hosts.sh(host, "khactl -o json bundle list").ok();
        let listed: Value = serde_json::from_str(&listed).expect("bundles, as JSON");
        assert_eq!(listed[0]["path"], BUNDLE, "on {host}: {listed}");
        assert_eq!(listed[0]["digest"], digest, "on {host}: {listed}");
        let brought = hosts.sh(host, "ls /opt/khactl/release").ok();
        assert!(!brought.contains(".tar.gz"), "on {host}: {brought}");
    }
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

/// systemd's own judgement, from 0 for closed to 10 for open.
fn the_unit_is_as_closed_as_its_page_says(hosts: &Hosts) {
    let page = fs::read_to_string(repository().join("docs/install.md")).expect("the page");
    let (_, rest) = page
        .split_once("`systemd-analyze security khad.service` gives it ")
        .expect("the page names it");
    let named = rest.split(' ').next().unwrap_or_default();
    let judged = "systemd-analyze security --no-pager khad.service | tail -n 1";
    let judged = hosts.sh("cp1", judged).ok();
    assert!(judged.contains(&format!(": {named} ")), "{named}: {judged}");
}

/// What runs goes on without it; the agent that comes again finds all of that. Only khavip is replaced, since its program is.
fn the_package_is_removed_and_installed_again(hosts: &Hosts, package: &Path) {
    const HOST: &str = "cp3";
    let pid = |program: &str| hosts.pid(HOST, program);
    let components = ["etcd", "kube-apiserver", "kube-scheduler"];
    let (before, khavip) = (components.map(pid), pid("khavip"));
    let said = hosts.sh(HOST, "dpkg --remove khactl 2>&1").ok();
    assert!(said.contains("stays a member of its cluster"), "{said}");
    assert!(!hosts.sh(HOST, "pgrep -x khad").is_ok(), "khad runs on");
    assert_eq!(components.map(pid), before, "a component ended");
    assert_eq!(pid("khavip"), khavip, "khavip ended");
    api_answers_at_the_vip(hosts, "cp1");
    hosts.step("the package is removed from a member");

    hosts.bring(HOST, package, "khactl.deb");
    hosts.sh(HOST, "dpkg --install khactl.deb").ok();
    assert!(!pid("khad").is_empty());
    until("khavip is the new one", SOON, || {
        let now = hosts.sh(HOST, "pgrep -x khavip").stdout;
        (!now.trim().is_empty() && now.trim() != khavip).then_some(())
    });
    hosts.await_ready("cp1", HOSTS.len());
    assert_eq!(components.map(pid), before, "a component ended");
}

/// What an upgrade is for khad: the VIP stays where it is, and takes every connection.
fn agents_are_restarted_and_no_client_notices(hosts: &Hosts) {
    let mut probe = hosts.beside(programs_dir().join("khactl"));
    probe.args(["lab", "probe", "--every-ms", "5", "--target", VIP]);
    let probe = Measurement::start(probe).expect("a probe of the VIP");
    for host in HOSTS {
        let before = hosts.pid(host, "khad");
        hosts.sh(host, "systemctl restart khad").ok();
        assert_ne!(hosts.pid(host, "khad"), before, "khad of {host}");
        hosts.await_ready(host, HOSTS.len());
    }
    let samples = probe.stop().expect("the probe's samples");
    let failed: Vec<_> = samples.iter().filter(|sample| !sample.ok).collect();
    hosts.step(&format!("{} connections to the VIP", samples.len()));
    assert!(
        samples.len() > HOSTS.len() && failed.is_empty(),
        "{} of {} failed: {:?}",
        failed.len(),
        samples.len(),
        failed.first()
    );
}

/// No component but khavip is another one afterwards, and every acknowledged write is there. Gives the inventory with the
/// new package.
fn agents_are_upgraded_under_load(hosts: &Hosts, vars: &Value) -> PathBuf {
    let next = Packages::build(hosts.scratch(), "0.2.0", true).deb;
    let vars = but(vars, &json!({ "khactl_package": next }));
    let inventory = hosts.inventory(&HOSTS, &vars);
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
    let kept = hosts.sh("cp1", "ls /opt/khactl/release").ok();
    assert!(
        kept.starts_with("khactl_0.2.0_") && kept.lines().count() == 1,
        "{kept}"
    );
    inventory
}

/// It hands the VIP over and ends its components in order on its way down, as its journal and khavip's log tell: without
/// that the others would have the VIP a moment later all the same. It comes back by itself.
fn a_host_is_rebooted(hosts: &Hosts) {
    const HOST: &str = "cp2";
    const LOG: &str = "/var/log/khactl/khavip.log";
    hosts.await_ready("cp1", HOSTS.len());
    hosts.sh("cp1", &format!("khactl vip transfer {HOST}")).ok();
    assert!(has_vip(hosts, HOST), "{HOST} does not hold the VIP");
    let mark = format!(
        "touch /run/khactl-test-boot; tr -d '\\n-' < /proc/sys/kernel/random/boot_id; date +' %s'; wc -l < {LOG}"
    );
    let mark = hosts.sh(HOST, &mark).ok();
    let mark: Vec<&str> = mark.split_whitespace().collect();
    let [boot, began_s, logged] = mark[..] else {
        panic!("no boot, time and number of lines: {mark:?}");
    };
    let is_back = || hosts.sh(HOST, "test ! -e /run/khactl-test-boot").is_ok();

    hosts.sh(HOST, "systemctl reboot");
    let next = until("another host has the VIP", SOON, || {
        HOSTS
            .into_iter()
            .find(|host| *host != HOST && has_vip(hosts, host))
    });
    assert!(!is_back(), "{HOST} was back before {next} had the VIP");
    until(&format!("{HOST} has begun anew"), LONG, || {
        is_back().then_some(())
    });
    hosts.await_ready(HOST, HOSTS.len());

    let journal = format!(
        "journalctl --no-pager -o cat -b {boot} --since=@{began_s} -u khactl-shutdown.service -u khad.service"
    );
    let journal = hosts.sh(HOST, &journal).ok();
    for said in [
        "this host does not hold the VIP held=true",
        "this host goes down: its components are ended",
    ] {
        assert!(journal.contains(said), "{said:?} is not in {journal}");
    }
    for warned in [
        "the others take it when its lease runs out",
        "not every component has ended in order",
    ] {
        assert!(!journal.contains(warned), "{journal}");
    }
    let since = logged.parse::<usize>().map_or(1, |lines| lines + 1);
    let khavip = hosts.sh(HOST, &format!("tail -n +{since} {LOG}")).ok();
    let (before_its_end, _) = khavip
        .split_once("asked to end")
        .expect("khavip was not told to end");
    assert!(
        before_its_end.contains("the VIP left") && !khavip.contains("the VIP is still here"),
        "{khavip}"
    );
    hosts.step(&format!(
        "{HOST} handed the VIP over to {next}, and is back"
    ));
}

/// Whether the VIP is on that host's interface.
fn has_vip(hosts: &Hosts, host: &str) -> bool {
    let listed = hosts.sh(host, "ip -o addr show to 10.77.0.100");
    !listed.stdout.trim().is_empty()
}

fn a_host_loses_its_power(hosts: &Hosts, lost: &str) {
    hosts.script("kill", &[lost]).ok();
    until(&format!("the status calls {lost} silent"), SOON, || {
        let status = hosts.status("cp2")?;
        let all = status["hosts"].as_array()?;
        let found = all.iter().find(|host| host["name"] == lost)?;
        (found["state"] == "silent").then_some(())
    });
    hosts.step(&format!("{lost} is without power"));
    api_answers_at_the_vip(hosts, "cp2");
}

/// Removed by the others while it does not answer; then a machine with a new disk has its name and address.
fn a_dead_host_is_replaced(hosts: &Hosts, inventory: &Path, dead: &str) {
    let leaving = format!("khactl_leaving={dead}");
    hosts
        .playbook("remove_host", inventory, &["-e", &leaving])
        .ok();
    hosts.await_ready("cp2", HOSTS.len() - 1);
    hosts.script("wipe", &[dead]).ok();
    hosts.script("start", &[dead]).ok();
    hosts.playbook("add_host", inventory, &[]).ok();
    hosts.await_ready(dead, HOSTS.len());
}

/// Refused with the numbers, then done, and nothing of it stays; and the same machine joins as a new host.
fn a_host_goes_and_comes_again(hosts: &Hosts, inventory: &Path, idle: &Traces) {
    let leaving = ["-e", "khactl_leaving=cp3"];
    let refused = hosts.playbook("remove_host", inventory, &leaving);
    assert!(
        !refused.is_ok() && refused.stdout.contains("KHA2085"),
        "{refused}"
    );
    let forced = ["-e", "khactl_leaving=cp3", "-e", "khactl_force=true"];
    hosts.playbook("remove_host", inventory, &forced).ok();
    hosts.await_ready("cp1", HOSTS.len() - 1);
    idle.await_again(hosts, "cp3", "its removal");
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
