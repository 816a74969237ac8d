//! The order of components comes from what they need.

use khactl_model::component::ComponentName;
use khactl_model::facts::ProbeFact;
use khactl_plan::{Status, components};

use crate::fake::{FakeCluster, spec, started, status};

fn settled() -> FakeCluster {
    let mut cluster = FakeCluster::new(spec("v1.20.2"));
    cluster.settle(20, |_| 1);
    cluster
}

fn not_ready(cluster: &mut FakeCluster, component: ComponentName) {
    let probe = ProbeFact {
        ready: false,
        detail: "connection refused".to_owned(),
        ..ProbeFact::default()
    };
    cluster
        .facts
        .get_mut("cp1")
        .unwrap()
        .probes
        .insert(component, probe);
}

#[test]
fn every_need_is_a_registered_component_and_comes_first() {
    let cluster = FakeCluster::new(spec("v1.20.2"));
    let order: Vec<&str> = cluster
        .plan("cp1")
        .components
        .iter()
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(order.len(), components().len());
    for component in components() {
        let place = |name: &str| order.iter().position(|other| *other == name);
        let own = place(component.name());
        for need in component.needs() {
            assert!(place(need).is_some(), "{need} is not registered");
            assert!(place(need) < own, "{need} comes after {}", component.name());
        }
    }
}

#[test]
fn a_fresh_host_starts_khavip_only_because_it_alone_needs_nothing() {
    let cluster = FakeCluster::new(spec("v1.20.2"));
    let plan = cluster.plan("cp1");
    assert_eq!(started(&plan), [ComponentName::Khavip]);
    assert!(
        matches!(status(&plan, "etcd"), Status::Waiting { why } if why.starts_with("pki is not ready"))
    );
    assert!(matches!(
        status(&plan, "kube-apiserver"),
        Status::Waiting { .. }
    ));
}

#[test]
fn a_component_that_runs_goes_on_while_its_need_is_not_ready() {
    let mut cluster = settled();
    not_ready(&mut cluster, ComponentName::Etcd);
    let plan = cluster.plan("cp1");
    assert!(plan.effects.is_empty(), "{:?}", plan.effects);
    assert_eq!(status(&plan, "kube-apiserver"), &Status::Ready);
    assert!(
        matches!(status(&plan, "etcd"), Status::Starting { why } if why == "connection refused")
    );
}

#[test]
fn a_component_that_ended_waits_for_its_need() {
    let mut cluster = settled();
    not_ready(&mut cluster, ComponentName::Etcd);
    cluster.end("cp1", ComponentName::KubeApiserver, 0);
    let plan = cluster.plan("cp1");
    assert!(started(&plan).is_empty());
    assert!(
        matches!(status(&plan, "kube-apiserver"), Status::Waiting { why } if why == "etcd is not ready: connection refused")
    );
}

#[test]
fn a_running_component_with_other_arguments_is_restarted_only_when_its_needs_are_ready() {
    let mut cluster = settled();
    let apiserver = ComponentName::KubeApiserver;
    let facts = cluster.facts.get_mut("cp1").unwrap();
    facts.processes.get_mut(&apiserver).unwrap().digest = "older".to_owned();
    assert_eq!(started(&cluster.plan("cp1")), [apiserver]);
    not_ready(&mut cluster, ComponentName::Etcd);
    assert!(started(&cluster.plan("cp1")).is_empty());
}

#[test]
fn the_clients_of_the_api_wait_for_any_apiserver() {
    let mut cluster = settled();
    not_ready(&mut cluster, ComponentName::KubeApiserver);
    cluster.end("cp1", ComponentName::KubeScheduler, 0);
    // Another host's apiserver is healthy behind the balancer.
    assert_eq!(
        started(&cluster.plan("cp1")),
        [ComponentName::KubeScheduler]
    );
    cluster
        .facts
        .get_mut("cp1")
        .unwrap()
        .vip
        .as_mut()
        .unwrap()
        .backends
        .clear();
    let plan = cluster.plan("cp1");
    assert!(started(&plan).is_empty());
    assert_eq!(
        status(&plan, "kube-scheduler"),
        &Status::Waiting {
            why: "no apiserver is ready yet".to_owned()
        }
    );
}
