//! Other arguments of components: host by host, and back again where they do not work.

use khactl_model::command::Command;
use khactl_model::component::ComponentName;
use khactl_model::state::Role;
use khactl_plan::Status;
use khactl_plan::effect::Effect;
use std::collections::BTreeMap;

use crate::fake::{FakeCluster, parse, spec};

const APISERVER: ComponentName = ComponentName::KubeApiserver;
const ROUNDS: usize = 60;

fn three() -> FakeCluster {
    let mut cluster = FakeCluster::new(spec("v1.20.2"));
    cluster.admit(2, Role::ControlPlane);
    cluster.admit(3, Role::ControlPlane);
    cluster.settle(120, |_| 1);
    cluster.starts.clear();
    cluster
}

/// As `khactl config apply` does.
fn change(cluster: &mut FakeCluster, arguments: &str) {
    let yaml = cluster
        .spec
        .to_yaml()
        .replace("extraArgs: {}", &format!("extraArgs: {{{arguments}}}"));
    let next = parse(&yaml);
    assert_ne!(next, cluster.spec, "{yaml}");
    let based_on = cluster.state.specs.last().unwrap().revision;
    cluster.propose(Command::ChangeArguments {
        based_on,
        yaml: next.to_yaml(),
        why: String::new(),
    });
}

/// No host but the first ever had them, and every one serves without them.
#[track_caller]
fn assert_taken_back_where_they_came(cluster: &FakeCluster, started: &[(String, ComponentName)]) {
    assert!(
        started.iter().all(|(host, _)| host == "cp1"),
        "it spread: {started:?}"
    );
    for host in ["cp1", "cp2", "cp3"] {
        assert!(arguments_of(cluster, host).is_empty(), "{host}");
        assert!(cluster.runs(host, APISERVER), "{host}");
    }
}

/// Every host once, then the leader. Gives what was started where.
fn round(cluster: &mut FakeCluster) -> Vec<(String, ComponentName)> {
    round_but(cluster, |_, _| false)
}

/// The same when some effects on some hosts come to nothing.
fn round_but(
    cluster: &mut FakeCluster,
    lost: impl Fn(&str, &Effect) -> bool,
) -> Vec<(String, ComponentName)> {
    cluster.pass(500);
    let mut started = Vec::new();
    let names: Vec<String> = cluster.state.hosts.keys().cloned().collect();
    for name in names {
        for effect in cluster.plan(&name).effects {
            if lost(&name, &effect) {
                continue;
            }
            if let Effect::EnsureProcess(process) = &effect {
                started.push((name.clone(), process.name));
            }
            cluster.carry_out(&name, &effect);
        }
    }
    lead(cluster);
    started
}

fn lead(cluster: &mut FakeCluster) {
    for effect in cluster.plan_cluster().effects {
        cluster.carry_out("cp1", &effect);
    }
}

fn arguments_of(cluster: &FakeCluster, host: &str) -> BTreeMap<String, String> {
    let spec = cluster.cx(host).spec;
    spec.control_plane.api_server.extra_args.clone()
}

#[test]
fn another_argument_restarts_the_component_on_one_host_after_the_other() {
    let mut cluster = three();
    change(&mut cluster, "v: '4'");
    let mut order = Vec::new();
    for _ in 0..ROUNDS {
        let started = round(&mut cluster);
        assert!(started.len() <= 1, "at once: {started:?}");
        order.extend(started);
    }
    let hosts: Vec<&str> = order.iter().map(|(host, _)| host.as_str()).collect();
    assert_eq!(hosts, ["cp1", "cp2", "cp3"]);
    assert!(order.iter().all(|(_, component)| *component == APISERVER));
    assert!(cluster.state.arguments.hosts.is_empty());
    assert_eq!(cluster.plan_cluster().status, Status::Ready);
}

#[test]
fn nobody_takes_other_arguments_while_a_host_is_not_well() {
    let mut cluster = three();
    cluster.silent.insert(3);
    change(&mut cluster, "v: '4'");
    for _ in 0..ROUNDS {
        assert_eq!(round(&mut cluster), []);
    }
    let Status::Waiting { why } = cluster.plan_cluster().status else {
        panic!("it waits");
    };
    assert!(why.contains("cp3 does not report"), "{why}");
    cluster.silent.clear();
    assert_eq!(round(&mut cluster), [], "it is drained");
    assert_eq!(round(&mut cluster), [], "it takes them");
    assert_eq!(round(&mut cluster).len(), 1);
    assert_eq!(cluster.state.arguments.in_turn(), Some(1));
}

/// The hosts to which the balancer of `host` is to send nothing new.
fn drained(cluster: &FakeCluster, host: &str) -> Vec<String> {
    let feed = khactl_plan::vip_feed(&cluster.cx(host));
    let drained = feed.backends.into_iter().filter(|backend| backend.draining);
    drained.map(|backend| backend.host).collect()
}

/// The feeds of one host's khavip come to nothing.
fn deaf(name: &str, effect: &Effect) -> bool {
    name == "cp3" && matches!(effect, Effect::FeedVip(_))
}

#[test]
fn a_host_takes_other_arguments_when_no_balancer_sends_it_anything_new() {
    let mut cluster = three();
    change(&mut cluster, "v: '4'");
    assert_eq!(round(&mut cluster), []);
    for host in ["cp1", "cp2", "cp3"] {
        assert_eq!(drained(&cluster, host), ["cp1"], "at {host}");
    }
    for _ in 0..4 {
        assert_eq!(round_but(&mut cluster, deaf), []);
    }
    assert_eq!(cluster.state.arguments_of(1), Some(1));
    let why = cluster.plan_cluster().status.why().to_owned();
    assert!(why.contains("balancer of cp3"), "{why}");
    assert_eq!(round(&mut cluster), []);
    assert_eq!(cluster.state.arguments_of(1), Some(2));
    assert_eq!(round(&mut cluster), [("cp1".to_owned(), APISERVER)]);
    let mut rounds = 0;
    while cluster.state.arguments.in_turn() == Some(1) {
        assert_eq!(drained(&cluster, "cp2"), ["cp1"]);
        round(&mut cluster);
        rounds += 1;
        assert!(rounds < ROUNDS, "it never keeps them");
    }
    for _ in 0..ROUNDS {
        round(&mut cluster);
    }
    assert_eq!(drained(&cluster, "cp2"), Vec::<String>::new());
    assert_eq!(cluster.plan_cluster().status, Status::Ready);
}

#[test]
fn a_host_that_is_lost_before_another_has_taken_anything_holds_it_up() {
    let mut cluster = three();
    change(&mut cluster, "v: '4'");
    assert_eq!(round(&mut cluster), []);
    assert_eq!(cluster.state.arguments.in_turn(), Some(1));
    cluster.silent.insert(3);
    for _ in 0..ROUNDS {
        assert_eq!(round(&mut cluster), []);
    }
    assert_eq!(cluster.state.arguments_of(1), Some(1));
    cluster.silent.clear();
    assert_eq!(round(&mut cluster), []);
    assert_eq!(round(&mut cluster), [("cp1".to_owned(), APISERVER)]);
}

#[test]
fn a_balancer_that_cannot_be_told_holds_a_change_up_for_seconds_only() {
    let mut cluster = three();
    change(&mut cluster, "v: '4'");
    let mut rounds = 0;
    while cluster.state.arguments_of(1) == Some(1) {
        assert_eq!(round_but(&mut cluster, deaf), []);
        rounds += 1;
        assert!(rounds < 10, "it waits for ever");
    }
    assert!(rounds > 5, "it waited at all");
    assert_eq!(round_but(&mut cluster, deaf).len(), 1);
}

#[test]
fn an_argument_that_makes_a_component_end_is_taken_back_on_the_first_host_and_spreads_to_no_other()
{
    let mut cluster = three();
    change(&mut cluster, "no-such: file");
    let mut ends = 0;
    let mut started = Vec::new();
    for _ in 0..ROUNDS {
        started.extend(round(&mut cluster));
        if arguments_of(&cluster, "cp1").contains_key("no-such") && cluster.runs("cp1", APISERVER) {
            let took = cluster.state.arguments_of(1) == Some(2);
            let restarted = cluster
                .starts
                .get(&("cp1".to_owned(), APISERVER))
                .is_some_and(|starts| *starts > ends);
            if took && restarted {
                ends += 1;
                cluster.end("cp1", APISERVER, ends);
                lead(&mut cluster);
            }
        }
    }
    assert_eq!(ends, 2, "it was not tried for longer than it takes to see");
    assert_taken_back_where_they_came(&cluster, &started);
    assert!(cluster.state.arguments.hosts.is_empty());
    assert_eq!(cluster.state.specs.last().unwrap().revision, 3);
    let plan = cluster.plan_cluster();
    assert_eq!(plan.status, Status::Ready);
    let told = plan
        .problems
        .iter()
        .find(|problem| problem.code == khactl_plan::problem::ARGUMENTS_TAKEN_BACK)
        .unwrap();
    assert!(
        told.text.contains("revision 2") && told.text.contains("kube-apiserver on cp1"),
        "{}",
        told.text
    );
}

#[test]
fn a_component_that_ends_for_another_reason_takes_nothing_back() {
    let mut cluster = three();
    change(&mut cluster, "v: '4'");
    for _ in 0..ROUNDS {
        round(&mut cluster);
    }
    cluster.end("cp1", APISERVER, 5);
    for _ in 0..3 {
        round(&mut cluster);
    }
    assert_eq!(cluster.state.specs.last().unwrap().revision, 2);
    assert_eq!(cluster.state.arguments.rolled_back, None);
}

#[test]
fn an_argument_that_makes_a_component_end_only_after_a_while_spreads_to_no_other_host_either() {
    let mut cluster = three();
    change(&mut cluster, "no-such: file");
    let mut started = Vec::new();
    let mut rounds = 0;
    while cluster.state.arguments_of(1) == Some(1) || cluster.state.arguments.in_turn() == Some(1) {
        started.extend(round(&mut cluster));
        rounds += 1;
        assert!(rounds < ROUNDS, "it never keeps them");
    }
    cluster.end("cp1", APISERVER, 1);
    // It runs again, and that proves nothing for a minute.
    for _ in 0..ROUNDS {
        started.extend(round(&mut cluster));
    }
    assert!(cluster.runs("cp1", APISERVER));
    let why = cluster.plan_cluster().status.why().to_owned();
    assert!(why.contains("kube-apiserver of cp1 ended"), "{why}");
    cluster.end("cp1", APISERVER, 2);
    lead(&mut cluster);
    for _ in 0..ROUNDS {
        started.extend(round(&mut cluster));
    }
    assert_taken_back_where_they_came(&cluster, &started);
    let back = cluster.state.arguments.rolled_back.as_ref();
    assert_eq!(back.map(|back| back.revision), Some(2));
    assert_eq!(cluster.plan_cluster().status, Status::Ready);
}

#[test]
fn one_end_of_a_component_that_runs_on_holds_a_change_up_for_a_minute_only() {
    let mut cluster = three();
    change(&mut cluster, "v: '4'");
    let mut rounds = 0;
    while cluster.state.arguments_of(1) == Some(1) || cluster.state.arguments.in_turn() == Some(1) {
        round(&mut cluster);
        rounds += 1;
        assert!(rounds < ROUNDS, "it never keeps them");
    }
    cluster.end("cp1", APISERVER, 1);
    for _ in 0..4 * ROUNDS {
        round(&mut cluster);
    }
    assert!(cluster.state.arguments.hosts.is_empty());
    assert_eq!(cluster.state.arguments.rolled_back, None);
    assert_eq!(arguments_of(&cluster, "cp3").len(), 1);
    assert_eq!(cluster.plan_cluster().status, Status::Ready);
}

#[test]
fn arguments_that_mend_what_ends_everywhere_are_taken_although_no_host_is_well() {
    const HOSTS: [&str; 3] = ["cp1", "cp2", "cp3"];
    let mut cluster = three();
    for host in HOSTS {
        cluster.end(host, APISERVER, 5);
    }
    change(&mut cluster, "v: '4'");
    for _ in 0..2 * ROUNDS {
        round(&mut cluster);
        for host in HOSTS {
            // What has not taken them ends at once.
            if arguments_of(&cluster, host).is_empty() && cluster.runs(host, APISERVER) {
                cluster.end(host, APISERVER, 5);
            }
        }
    }
    for host in HOSTS {
        assert_eq!(arguments_of(&cluster, host).len(), 1, "{host}");
        assert!(cluster.runs(host, APISERVER), "{host}");
    }
    assert_eq!(cluster.state.arguments.rolled_back, None);
    assert_eq!(cluster.plan_cluster().status, Status::Ready);
}

fn starts_a_scheduler(_: &str, effect: &Effect) -> bool {
    let Effect::EnsureProcess(process) = effect else {
        return false;
    };
    process.name == ComponentName::KubeScheduler
}

#[test]
fn other_arguments_of_another_component_wait_for_one_that_ends_again_and_again() {
    let mut cluster = three();
    cluster.end("cp1", ComponentName::KubeScheduler, 5);
    change(&mut cluster, "v: '4'");
    for _ in 0..ROUNDS {
        assert_eq!(round_but(&mut cluster, starts_a_scheduler), []);
    }
    assert_eq!(cluster.state.arguments.in_turn(), None);
}
