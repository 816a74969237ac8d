//! What follows when a process ends.

use khactl_model::component::ComponentName;
use khactl_plan::Status;

use crate::fake::{FakeCluster, spec, started, status};

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
    use khactl_plan::effect::Effect;
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
