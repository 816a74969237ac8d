//! What follows when a process ends.

use khactl_model::component::ComponentName;
use khactl_plan::effect::Effect;
use khactl_plan::{Status, crash_of};

use crate::fake::{FakeCluster, parse, spec, started, status};

const APISERVER: ComponentName = ComponentName::KubeApiserver;

fn settled() -> FakeCluster {
    let mut cluster = FakeCluster::new(spec("v1.20.2"));
    cluster.settle(20, |_| 1);
    cluster
}

#[test]
fn after_a_stable_run_it_is_started_at_once() {
    let mut cluster = settled();
    cluster.end("cp1", APISERVER, 0);
    assert_eq!(started(&cluster.plan("cp1")), [APISERVER]);
}

#[test]
fn after_quick_ends_it_is_started_when_the_back_off_is_over_and_not_before() {
    let mut cluster = settled();
    cluster.end("cp1", APISERVER, 4);
    let ended_ms = cluster.now_ms;
    let plan = cluster.plan("cp1");
    assert!(started(&plan).is_empty());
    let Status::BackOff { until_ms, why } = status(&plan, "kube-apiserver") else {
        panic!("{plan:?}");
    };
    assert_eq!(why, "exit code 1");
    assert!(
        (ended_ms + 2_000..=ended_ms + 2_500).contains(until_ms),
        "{until_ms}"
    );
    assert_eq!(plan.wake, Some(*until_ms));
    assert_eq!(plan.problems[0].code, khactl_plan::problem::KEEPS_ENDING);
    let until_ms = *until_ms;
    cluster.now_ms = until_ms - 1;
    assert!(started(&cluster.plan("cp1")).is_empty());
    cluster.now_ms = until_ms;
    assert_eq!(started(&cluster.plan("cp1")), [APISERVER]);
}

#[test]
fn after_ends_with_other_arguments_it_is_started_at_once() {
    let mut cluster = settled();
    cluster.end("cp1", APISERVER, 4);
    assert_eq!(started(&cluster.plan("cp1")), []);
    let yaml = cluster.spec.to_yaml();
    cluster.spec = parse(&yaml.replace("extraArgs: {}", "extraArgs: {v: '4'}"));
    assert_eq!(started(&cluster.plan("cp1")), [APISERVER]);
}

#[test]
fn one_mishap_is_no_problem_to_report() {
    let mut cluster = settled();
    cluster.end("cp1", APISERVER, 1);
    assert!(cluster.plan("cp1").problems.is_empty());
}

#[test]
fn the_other_components_go_on_meanwhile() {
    let mut cluster = settled();
    cluster.end("cp1", ComponentName::Etcd, 6);
    let plan = cluster.plan("cp1");
    assert!(plan.effects.is_empty());
    assert!(matches!(status(&plan, "etcd"), Status::BackOff { .. }));
    assert_eq!(status(&plan, "kube-apiserver"), &Status::Ready);
}

#[test]
fn a_process_that_this_host_has_no_use_for_is_stopped() {
    use khactl_model::state::Role;
    let mut cluster = settled();
    cluster.state.hosts.get_mut("cp1").unwrap().role = Role::Witness;
    let stopped: Vec<ComponentName> = cluster
        .plan("cp1")
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::StopProcess { name, .. } => Some(*name),
            _ => None,
        })
        .collect();
    assert_eq!(stopped.len(), 3);
    assert!(!stopped.contains(&ComponentName::Etcd) && !stopped.contains(&ComponentName::Khavip));
}

#[test]
fn a_crash_loop_is_told_with_its_last_words_and_their_meaning() {
    let mut cluster = settled();
    cluster.end("cp1", APISERVER, 3);
    let line = "listen tcp 10.77.0.11:6443: bind: address already in use";
    cluster
        .facts
        .get_mut("cp1")
        .unwrap()
        .last_lines
        .insert(APISERVER, vec![line.to_owned()]);
    let problem = cluster.plan("cp1").problems.remove(0);
    assert_eq!(problem.code, "KHA3121");
    assert!(problem.text.contains(line), "{}", problem.text);
    let crash = crash_of(&cluster.facts["cp1"], APISERVER).unwrap();
    assert!(crash.looping);
    assert_eq!((crash.ends, crash.how.as_str()), (3, "exit code 1"));
    assert_eq!(crash.last_lines, [line]);
    assert_eq!(crash_of(&cluster.facts["cp1"], ComponentName::Etcd), None);
}

fn hang(cluster: &mut FakeCluster, component: ComponentName) {
    let facts = cluster.facts.get_mut("cp1").unwrap();
    facts.probes.get_mut(&component).unwrap().hung = Some("no answer".to_owned());
}

fn ended_for_hanging(cluster: &FakeCluster) -> Vec<ComponentName> {
    cluster
        .plan("cp1")
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::EndHung { name, pid: 100, .. } => Some(*name),
            _ => None,
        })
        .collect()
}

#[test]
fn a_process_that_hangs_is_ended_and_started_again_after_its_back_off() {
    let mut cluster = settled();
    hang(&mut cluster, APISERVER);
    assert_eq!(ended_for_hanging(&cluster), [APISERVER]);
    let plan = cluster.plan("cp1");
    assert_eq!(plan.problems[0].code, khactl_plan::problem::HANGS);
    assert!(started(&plan).is_empty(), "one thing after the other");
    for effect in &plan.effects {
        cluster.carry_out("cp1", effect);
    }
    let facts = cluster.facts.get_mut("cp1").unwrap();
    facts.probes.remove(&APISERVER);
    let Status::BackOff { until_ms, why } = status(&cluster.plan("cp1"), "kube-apiserver").clone()
    else {
        panic!("it counts among the ends that were not asked for");
    };
    assert_eq!(why, "ended because no answer");
    cluster.now_ms = until_ms;
    assert_eq!(started(&cluster.plan("cp1")), [APISERVER]);
}

#[test]
fn a_process_that_hangs_is_left_alone_while_what_it_needs_is_not_ready() {
    let mut cluster = settled();
    hang(&mut cluster, APISERVER);
    let facts = cluster.facts.get_mut("cp1").unwrap();
    facts.probes.get_mut(&ComponentName::Etcd).unwrap().ready = false;
    assert_eq!(ended_for_hanging(&cluster), []);
}

#[test]
fn a_controller_that_was_killed_is_started_again_at_once_and_one_that_failed_waits() {
    const MANAGER: ComponentName = ComponentName::KubeControllerManager;
    let mut cluster = settled();
    cluster.end("cp1", MANAGER, 5);
    assert_eq!(started(&cluster.plan("cp1")), []);
    let facts = cluster.facts.get_mut("cp1").unwrap();
    let exit = facts.processes.get_mut(&MANAGER).unwrap().exit.as_mut();
    "signal 9".clone_into(&mut exit.unwrap().how);
    cluster.now_ms += 1_000;
    assert_eq!(started(&cluster.plan("cp1")), [MANAGER]);
}
