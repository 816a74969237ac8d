//! Leaving, giving that up, and cleaning a host: one cluster, from which the first host goes while it holds the VIP and
//! leads, comes back clean, and after which nothing is left of khactl but what it says it leaves.

use std::collections::BTreeSet;
use std::fs;

use khactl_lab::Signal;
use khactl_tests::{Cluster, LONG, Running, SOON, soak, until};
use serde_json::Value;

/// The steps of a leave, in their order.
const STEPS: [&str; 8] = [
    "check",
    "vip",
    "lease",
    "control-plane",
    "etcd",
    "consensus",
    "record",
    "keys",
];
const LEAVE: [&str; 5] = ["leave", "--yes", "--force", "--timeout", "4m"];

#[test]
fn the_first_host_leaves_comes_back_clean_and_a_reset_leaves_what_it_says() {
    let cluster = Cluster::boot("e2eleave", 3);
    let idle = Host::look(&cluster, "cp1");
    cluster.form(&cluster.spec());
    cluster.put("before");
    what_would_lower_fault_tolerance_is_refused_with_the_numbers(&cluster);
    an_aborted_leave_changes_nothing(&cluster);
    the_first_host_leaves_while_it_holds_and_leads(&cluster);
    having_left_survives_a_restart_and_no_key_stays(&cluster);
    a_host_that_left_is_cleaned_and_joins_again(&cluster, &idle);
    a_reset_that_is_killed_goes_on_by_itself(&cluster);
    a_host_without_an_agent_is_cleaned_too(&cluster);
    the_last_host_cannot_leave_and_its_reset_ends_the_cluster(&cluster);
}

/// What a host has of khactl.
#[derive(Debug, PartialEq, Eq)]
struct Host {
    processes: BTreeSet<String>,
    /// Files, addresses, neighbours, queueing disciplines, filters, rules: one a line, each as its own tool shows it.
    lines: Vec<String>,
}

impl Host {
    #[track_caller]
    fn look(cluster: &Cluster, host: &str) -> Self {
        let script = "find /var/lib/khactl /run/khactl -printf '%p %y %m %u\\n' | sort; \
                      ip -o addr | awk '{print $2, $3, $4}'; \
                      ip neigh show nud permanent; \
                      for at in ingress egress; do tc filter show dev eth0 $at; done; \
                      tc qdisc show dev eth0; nft list ruleset";
        let shown = cluster.run(host, "sh", &["-c", script]).ok();
        let processes = cluster.host(host).processes().into_iter();
        Self {
            processes: processes.map(|process| process.name).collect(),
            lines: shown.lines().map(str::to_owned).collect(),
        }
    }

    #[track_caller]
    fn await_same(&self, cluster: &Cluster, host: &str) {
        until(&format!("only khad runs on {host}"), SOON, || {
            (Self::look(cluster, host).processes == self.processes).then_some(())
        });
        let now = Self::look(cluster, host);
        assert_eq!(now, *self, "{host} is not as it was before");
    }
}

/// The components' cgroups of one host: those of all hosts of a lab lie side by side, and end in the host's own mark.
struct Cgroups {
    mark: String,
}

impl Cgroups {
    #[track_caller]
    fn of(cluster: &Cluster, host: &str) -> Self {
        let id = cluster.host(host).data_dir().join("state/processes/id");
        let Ok(id) = fs::read_to_string(&id) else {
            panic!("{} cannot be read", id.display());
        };
        Self {
            mark: format!("-{}", &id[..8]),
        }
    }

    fn left(&self) -> Vec<String> {
        ["/sys/fs/cgroup/khactl", "/sys/fs/cgroup/unified/khactl"]
            .into_iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(&self.mark))
            .collect()
    }
}

fn what_would_lower_fault_tolerance_is_refused_with_the_numbers(cluster: &Cluster) {
    cluster.step("a leave and a reset of one of three are refused");
    let wrong = cluster
        .khactl("cp2", &["leave", "--yes"])
        .refused_with("KHA2085")
        .wrong;
    assert!(wrong.contains("the loss of 1 of its 3 members"), "{wrong}");
    cluster.khactl("cp2", &["leave"]).refused_with("KHA0914");
    let wrong = cluster
        .khactl("cp2", &["reset", "--yes"])
        .refused_with("KHA2090")
        .wrong;
    assert!(wrong.contains("cp2 is one of 3 hosts"), "{wrong}");
    cluster.khactl("cp2", &["reset"]).refused_with("KHA0914");
}

fn an_aborted_leave_changes_nothing(cluster: &Cluster) {
    cluster.step("cp3 leaves, and that is aborted before its API server has ended");
    cluster.host("cp3").signal("kube-apiserver", Signal::STOP);
    let leaving = begin(cluster, "cp3", &LEAVE, "control-plane");
    let id = operations(cluster, "cp2")
        .iter()
        .find(|operation| operation["kind"] == "leave" && operation["state"] == "running")
        .map(|operation| operation["id"].to_string());
    let Some(id) = id else {
        panic!("no leave in the journal");
    };
    cluster.khactl("cp2", &["operation", "abort", &id]).ok();
    leaving.wait(SOON).refused_with("KHA2086");
    cluster.host("cp3").signal("kube-apiserver", Signal::CONT);
    cluster.await_ready(3);
    cluster
        .khactl("cp2", &["operation", "abort", "1"])
        .refused_with("KHA2088");
    let shown = cluster.khactl("cp2", &["operation", "show", &id]).ok();
    assert!(shown.contains("\"aborted\""), "{shown}");
}

/// A leave or a removal; gives the command once it shows that step, or once it has ended without it.
fn begin(cluster: &Cluster, host: &str, operation: &[&str], step: &str) -> Running {
    let arguments = [&["-o", "json"][..], operation].concat();
    let mut running = cluster.start(host, "khactl", &arguments);
    let shown = format!("{}: {step}: ", operation[0]);
    until(&format!("it comes to {step}"), LONG, || {
        let met = running.lines().iter().any(|line| line.starts_with(&shown));
        (met || running.has_ended()).then_some(())
    });
    running
}

fn the_first_host_leaves_while_it_holds_and_leads(cluster: &Cluster) {
    cluster.khactl("cp1", &["vip", "transfer", "cp1"]).ok();
    cluster.khactl("cp1", &["leader", "transfer", "cp1"]).ok();
    // It goes on without this host, so that the last of these may come when all is over.
    let steps = if soak() {
        &STEPS[..]
    } else {
        &["check", "vip", "etcd"]
    };
    for step in steps {
        cluster.step(&format!(
            "cp1 leaves; khad and the command are killed at {step}"
        ));
        let running = begin(cluster, "cp1", &LEAVE, step);
        cluster.kill_agent("cp1");
        running.kill();
        cluster.start_agent("cp1");
    }
    cluster.step("cp1 leaves to the end");
    let told = cluster.khactl("cp1", &LEAVE).ok();
    assert!(told.contains("cp1 has left"), "{told}");
    cluster.await_ready(2);
    let again = cluster.khactl("cp1", &LEAVE).ok();
    assert!(again.contains("cp1 has left"), "{again}");
    let operations = operations(cluster, "cp2");
    let left = operations
        .iter()
        .find(|operation| operation["kind"] == "leave" && operation["host_name"] == "cp1");
    let Some(left) = left else {
        panic!("not in the journal: {operations:?}");
    };
    assert_eq!(left["state"], "done", "{left}");
    let Some(status) = cluster.leaders_status() else {
        panic!("the leader gives no status");
    };
    assert_eq!(status.etcd.len(), 2, "{:?}", status.etcd);
    cluster.put("without-cp1");
}

fn operations(cluster: &Cluster, host: &str) -> Vec<Value> {
    let printed = cluster.khactl(host, &["operation", "list"]).ok();
    match serde_json::from_str(&printed) {
        Ok(operations) => operations,
        Err(error) => panic!("`operation list` printed {printed:?}: {error}"),
    }
}

fn having_left_survives_a_restart_and_no_key_stays(cluster: &Cluster) {
    cluster.step("cp1 is restarted: it has left still");
    cluster.restart_agent("cp1");
    until("cp1 says that it was removed", SOON, || {
        let problems = cluster.status("cp1")?.problems;
        problems.iter().find(|p| p.code == "KHA3021").map(drop)
    });
    // What looks into the kernel after a restart has khavip's name, for a moment.
    until("cp1 runs nothing any more", SOON, || {
        cluster.component_pids("cp1").is_empty().then_some(())
    });
    let pki = cluster.host("cp1").data_dir().join("pki");
    until("the keys are gone", SOON, || {
        let keys = files_below(&pki);
        keys.is_empty().then_some(())
    });
    let token = cluster.token("cp2", &[]);
    cluster.join("cp1", "cp2", &token).refused_with("KHA2092");
}

fn files_below(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path.display().to_string()]
            }
        })
        .collect()
}

fn a_host_that_left_is_cleaned_and_joins_again(cluster: &Cluster, idle: &Host) {
    cluster.step("cp1 is cleaned");
    let told = cluster.khactl("cp1", &["reset", "--yes"]).ok();
    assert!(told.contains("/var/log/khactl"), "{told}");
    idle.await_same(cluster, "cp1");
    cluster.khactl("cp1", &["status"]).refused_with("KHA3050");
    cluster.step("cp1 joins again");
    let token = cluster.token("cp2", &[]);
    cluster.join("cp1", "cp2", &token).ok();
    cluster.await_ready(3);
    cluster.assert_there(&["before", "without-cp1"]);
}

fn a_reset_that_is_killed_goes_on_by_itself(cluster: &Cluster) {
    let leader = cluster.leader();
    let victim = if leader == "cp3" { "cp2" } else { "cp3" };
    cluster.step(&format!(
        "{victim} is cleaned by force; khad is killed meanwhile"
    ));
    let reset = cluster.start(victim, "khactl", &["reset", "--yes", "--force"]);
    let cgroups = Cgroups::of(cluster, victim);
    let mark = cluster.host(victim).data_dir().join("state/reset");
    until("the reset has begun", SOON, || mark.exists().then_some(()));
    cluster.kill_agent(victim);
    reset.kill();
    cluster.start_agent(victim);
    until(&format!("{victim} is no member"), SOON, || {
        let status = cluster.khactl(victim, &["status"]);
        status.stderr.contains("KHA3050").then_some(())
    });
    assert!(cluster.component_pids(victim).is_empty());
    assert_eq!(cgroups.left(), [""; 0]);
    cluster.await_silent(victim);
    a_removal_goes_on_without_who_began_it(cluster, &leader, victim);
}

/// By then it may be over: what counts is that it comes to its end, and that asking again is no second one.
fn a_removal_goes_on_without_who_began_it(cluster: &Cluster, leader: &str, victim: &str) {
    cluster.step(&format!(
        "{victim} is removed; khad of {leader}, who leads, and the command are killed meanwhile"
    ));
    let removal = ["remove", victim, "--yes"];
    let removing = begin(cluster, leader, &removal, "lease");
    cluster.kill_agent(leader);
    removing.kill();
    cluster.start_agent(leader);
    cluster.leader();
    cluster.khactl(leader, &removal).ok();
    let removals = operations(cluster, leader)
        .into_iter()
        .filter(|operation| operation["kind"] == "remove" && operation["host_name"] == victim);
    let states: Vec<_> = removals.map(|entry| entry["state"].clone()).collect();
    assert_eq!(states, ["done"]);
    cluster.await_ready(2);
}

fn a_host_without_an_agent_is_cleaned_too(cluster: &Cluster) {
    let leader = cluster.leader();
    let names = ["cp1", "cp2", "cp3"];
    let members = cluster.leaders_status().map(|status| status.hosts);
    let members: Vec<String> = members
        .into_iter()
        .flatten()
        .map(|host| host.name)
        .collect();
    let Some(victim) = members.iter().find(|name| **name != leader) else {
        panic!("{leader} is alone of {names:?}");
    };
    cluster.step(&format!(
        "{victim} leaves, and is cleaned while no khad runs"
    ));
    cluster.khactl(victim, &LEAVE).ok();
    cluster.kill_agent(victim);
    cluster.khactl(victim, &["reset", "--yes"]).ok();
    let left = files_below(&cluster.host(victim).data_dir());
    assert_eq!(left, [""; 0]);
    cluster.step(&format!(
        "{leader} has no khad: nobody can tell, and it is refused"
    ));
    cluster.await_ready(1);
    cluster.kill_agent(&leader);
    cluster
        .khactl(&leader, &["reset", "--yes"])
        .refused_with("KHA2091");
    cluster.start_agent(&leader);
    cluster.await_ready(1);
}

fn the_last_host_cannot_leave_and_its_reset_ends_the_cluster(cluster: &Cluster) {
    let last = cluster.leader();
    cluster.step(&format!("{last} is the last one"));
    cluster.khactl(&last, &LEAVE).refused_with("KHA2080");
    cluster.khactl(&last, &["reset", "--yes"]).ok();
    assert!(cluster.component_pids(&last).is_empty());
    assert_eq!(cluster.holders(), [""; 0]);
}
