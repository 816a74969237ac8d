//! From nothing to one host, three hosts, and three with a witness.

use khactl_model::component::ComponentName;
use khactl_model::state::{EtcdStage, Role};
use khactl_plan::Status;
use proptest::prelude::*;

use crate::fake::{FakeCluster, spec};

fn joined(cluster: &FakeCluster) {
    for host in cluster.state.hosts.values() {
        assert_eq!(host.etcd.stage, EtcdStage::Voter, "{}", host.name);
        assert!(host.etcd.started, "{}", host.name);
        assert_eq!(host.etcd.member_id, cluster.member(&host.name, false).id);
        assert!(cluster.raft.voters.contains(&host.id));
        assert!(cluster.state.lease.members.contains(&host.id));
        for (name, status) in cluster.plan(&host.name).components {
            let wanted = if host.role == Role::Witness && name.starts_with("kube-") {
                Status::Absent
            } else {
                Status::Ready
            };
            assert_eq!(status, wanted, "{name} on {}", host.name);
        }
    }
    assert_eq!(cluster.plan_cluster().status, Status::Ready);
}

#[test]
fn one_host_reaches_an_empty_plan_with_every_component_ready() {
    let mut cluster = FakeCluster::new(spec("v1.20.2"));
    cluster.settle(20, |_| 1);
    joined(&cluster);
    assert!(cluster.plan_cluster().problems.is_empty());
}

#[test]
fn two_hosts_that_join_at_once_make_three_and_nothing_is_started_twice() {
    let mut cluster = FakeCluster::new(spec("v1.20.2"));
    cluster.settle(20, |_| 1);
    cluster.admit(2, Role::ControlPlane);
    cluster.admit(3, Role::ControlPlane);
    cluster.settle(60, |_| 1);
    joined(&cluster);
    assert_eq!(cluster.state.lease.epoch, 3);
    assert_eq!(cluster.starts.len(), 15);
    assert!(
        cluster.starts.values().all(|starts| *starts == 1),
        "{:?}",
        cluster.starts
    );
}

#[test]
fn a_witness_votes_and_runs_no_kubernetes() {
    let mut cluster = FakeCluster::new(spec("v1.30.1"));
    cluster.admit(2, Role::ControlPlane);
    cluster.admit(3, Role::Witness);
    cluster.settle(80, |_| 1);
    joined(&cluster);
    assert!(!cluster.runs("cp3", ComponentName::KubeApiserver));
    assert!(
        cluster.facts["cp3"]
            .files
            .keys()
            .all(|path| !path.contains("kube"))
    );
}

#[test]
fn each_host_learns_the_members_that_etcd_lists_and_itself() {
    let mut cluster = FakeCluster::new(spec("v1.20.2"));
    cluster.admit(2, Role::ControlPlane);
    cluster.admit(3, Role::ControlPlane);
    cluster.settle(80, |_| 1);
    let initial = |name: &str| cluster.host(name).etcd.initial_cluster.clone();
    assert_eq!(initial("cp1"), "cp1=https://10.77.0.11:2380");
    assert_eq!(
        initial("cp2"),
        "cp1=https://10.77.0.11:2380,cp2=https://10.77.0.12:2380"
    );
    assert_eq!(
        initial("cp3"),
        "cp1=https://10.77.0.11:2380,cp2=https://10.77.0.12:2380,cp3=https://10.77.0.13:2380"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn three_hosts_join_although_effects_are_lost_and_repeated(
        attempts in proptest::collection::vec(0_u32..3, 400),
    ) {
        let mut cluster = FakeCluster::new(spec("v1.20.2"));
        cluster.admit(2, Role::ControlPlane);
        cluster.admit(3, Role::ControlPlane);
        let mut attempts = attempts.into_iter();
        cluster.settle(400, |_| attempts.next().unwrap_or(1));
        joined(&cluster);
        prop_assert!(cluster.starts.values().all(|starts| *starts == 1));
    }
}
