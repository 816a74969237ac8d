//! etcd's data folder: never begun anew once it was in service.

use khactl_model::component::ComponentName;
use khactl_model::state::Role;
use khactl_plan::effect::Effect;
use khactl_plan::{HostPlan, Status, problem};

use crate::fake::{FakeCluster, spec, started, status};

fn etcd_args(plan: &HostPlan) -> Vec<String> {
    plan.effects
        .iter()
        .find_map(|effect| match effect {
            Effect::EnsureProcess(process) if process.name == ComponentName::Etcd => {
                Some(process.args.clone())
            }
            _ => None,
        })
        .expect("etcd is not started")
}

fn state_flag(args: &[String]) -> &str {
    args.iter()
        .find_map(|arg| arg.strip_prefix("--initial-cluster-state="))
        .unwrap()
}

/// A first host with its certificates and nothing running yet.
fn prepared() -> FakeCluster {
    let mut cluster = FakeCluster::new(spec("v1.20.2"));
    cluster.pass(1);
    for effect in cluster.plan("cp1").effects {
        cluster.carry_out("cp1", &effect);
    }
    cluster
}

#[test]
fn the_first_member_begins_new_and_goes_on_existing_without_a_restart() {
    let mut cluster = prepared();
    assert_eq!(state_flag(&etcd_args(&cluster.plan("cp1"))), "new");
    cluster.settle(20, |_| 1);
    assert_eq!(cluster.starts[&("cp1".to_owned(), ComponentName::Etcd)], 1);
    cluster.end("cp1", ComponentName::Etcd, 0);
    assert_eq!(state_flag(&etcd_args(&cluster.plan("cp1"))), "existing");
}

#[test]
fn lost_data_starts_nothing_and_says_what_to_do() {
    let mut cluster = prepared();
    cluster.settle(20, |_| 1);
    cluster.end("cp1", ComponentName::Etcd, 0);
    cluster.facts.get_mut("cp1").unwrap().etcd_data = false;
    let plan = cluster.plan("cp1");
    assert!(started(&plan).is_empty());
    assert!(matches!(status(&plan, "etcd"), Status::Waiting { .. }));
    let lost: Vec<_> = plan
        .problems
        .iter()
        .filter(|p| p.code == problem::ETCD_DATA_LOST)
        .collect();
    assert_eq!(lost.len(), 1);
    assert!(
        lost[0]
            .text
            .starts_with("etcd data lost: /var/lib/khactl/etcd")
    );
    assert!(lost[0].advice.contains("khactl remove cp1"));
}

#[test]
fn the_apiserver_waits_until_the_members_service_is_recorded() {
    let mut cluster = prepared();
    for effect in cluster.plan("cp1").effects {
        cluster.carry_out("cp1", &effect);
    }
    cluster.pass(1);
    let plan = cluster.plan("cp1");
    assert_eq!(status(&plan, "etcd"), &Status::Ready);
    assert!(!started(&plan).contains(&ComponentName::KubeApiserver));
    for effect in plan.effects {
        cluster.carry_out("cp1", &effect);
    }
    assert!(cluster.host("cp1").etcd.started);
    assert!(started(&cluster.plan("cp1")).contains(&ComponentName::KubeApiserver));
}

#[test]
fn a_host_that_is_no_member_yet_starts_no_etcd() {
    let mut cluster = prepared();
    cluster.admit(2, Role::ControlPlane);
    cluster.pass(1);
    for _ in 0..3 {
        for effect in cluster.plan("cp2").effects {
            cluster.carry_out("cp2", &effect);
        }
        cluster.pass(1);
    }
    let plan = cluster.plan("cp2");
    assert!(plan.effects.is_empty());
    assert_eq!(status(&plan, "pki"), &Status::Ready);
    assert!(
        matches!(status(&plan, "etcd"), Status::Waiting { why } if why.contains("has not added"))
    );
}
