//! The leader's planning: what comes first, what waits for what, and what a new leader finds.

use khactl_model::command::Command;
use khactl_model::component::ComponentName;
use khactl_model::facts::{EtcdMemberFact, HostReport, ProbeFact};
use khactl_model::state::{EtcdStage, Role};
use khactl_plan::effect::Effect;
use khactl_plan::{
    ClusterCx, LEASE_S_MS, Plan, REPORT_FRESH_MS, Status, fence_majority, plan_cluster, problem,
};
use std::collections::BTreeMap;

use crate::fake::{FakeCluster, spec};

/// One settled host and a second one that was admitted.
fn second_admitted() -> FakeCluster {
    let mut cluster = FakeCluster::new(spec("v1.20.2"));
    cluster.settle(20, |_| 1);
    cluster.admit(2, Role::ControlPlane);
    cluster
}

/// Lets the second host and the leader go on until the leader would do what is asked for.
fn until(cluster: &mut FakeCluster, wanted: impl Fn(&Effect) -> bool) -> Effect {
    for _ in 0..60 {
        cluster.pass(300);
        let names: Vec<String> = cluster.state.hosts.keys().cloned().collect();
        for name in names {
            for effect in cluster.plan(&name).effects {
                cluster.carry_out(&name, &effect);
            }
        }
        for effect in cluster.plan_cluster().effects {
            if wanted(&effect) {
                return effect;
            }
            cluster.carry_out("cp1", &effect);
        }
    }
    panic!("it never came");
}

fn plan_with(
    cluster: &FakeCluster,
    reports: &BTreeMap<u64, (HostReport, u64)>,
    members: Option<&[EtcdMemberFact]>,
) -> Plan {
    plan_cluster(&ClusterCx {
        spec: &cluster.spec,
        state: &cluster.state,
        reports,
        raft: &cluster.raft,
        leader_id: 1,
        etcd_members: members,
        fence_majority_since_ms: None,
        turn_since_ms: None,
        leader_since_ms: 0,
        now_ms: cluster.now_ms,
    })
}

fn why(plan: &Plan) -> &str {
    assert!(plan.effects.is_empty(), "{:?}", plan.effects);
    assert!(
        matches!(plan.status, Status::Waiting { .. }),
        "{:?}",
        plan.status
    );
    plan.status.why()
}

#[test]
fn a_host_joins_in_the_order_of_the_design() {
    let mut cluster = second_admitted();
    let mut seen = Vec::new();
    for _ in 0..60 {
        cluster.pass(300);
        for name in ["cp1", "cp2"] {
            for effect in cluster.plan(name).effects {
                cluster.carry_out(name, &effect);
            }
        }
        let plan = cluster.plan_cluster();
        assert!(plan.effects.len() <= 1);
        for effect in plan.effects {
            seen.push(match &effect {
                Effect::RaftAddLearner { .. } => "raft learner",
                Effect::RaftPromote { .. } => "raft voter",
                Effect::EtcdAddLearner { .. } => "etcd learner",
                Effect::EtcdPromote { .. } => "etcd voter",
                Effect::Propose(Command::SetEtcdStage(_)) => "record",
                Effect::Propose(Command::SetLease { .. }) => "lease",
                other => panic!("{other:?}"),
            });
            cluster.carry_out("cp1", &effect);
        }
    }
    assert_eq!(
        seen,
        [
            "raft learner",
            "raft voter",
            "etcd learner",
            "record",
            "etcd voter",
            "record",
            "lease"
        ]
    );
}

#[test]
fn a_raft_learner_gets_its_vote_only_when_it_reports_and_holds_the_log() {
    let mut cluster = second_admitted();
    cluster.raft.learners.insert(2);
    cluster.raft.last_log = 1_000;
    cluster.raft.matched.insert(2, 500);
    let reports = cluster.reports();
    assert_eq!(
        why(&plan_with(&cluster, &reports, None)),
        "cp2 is copying the Raft log"
    );
    cluster.raft.matched.insert(2, 995);
    let plan = plan_with(&cluster, &reports, None);
    assert_eq!(plan.effects, [Effect::RaftPromote { host_id: 2 }]);
    let mut stale = reports.clone();
    stale.get_mut(&2).unwrap().1 = REPORT_FRESH_MS + 1;
    assert_eq!(
        why(&plan_with(&cluster, &stale, None)),
        "cp2 is a Raft learner and does not report"
    );
    cluster.raft.changing = true;
    assert_eq!(
        why(&plan_with(&cluster, &reports, None)),
        "Raft is changing its membership"
    );
}

#[test]
fn a_member_that_was_added_and_not_recorded_is_recorded_by_the_next_leader() {
    let mut cluster = second_admitted();
    let added = until(&mut cluster, |e| matches!(e, Effect::EtcdAddLearner { .. }));
    // etcd took it, and the leader died before it could record it.
    cluster.carry_out("cp1", &added);
    let plan = cluster.plan_cluster();
    let [Effect::Propose(Command::SetEtcdStage(set))] = &plan.effects[..] else {
        panic!("{:?}", plan.effects);
    };
    assert_eq!(
        (set.host_name.as_str(), set.stage),
        ("cp2", EtcdStage::Learner)
    );
    assert_eq!(set.member_id, cluster.member("cp2", true).id);
    assert_eq!(
        set.initial_cluster,
        "cp1=https://10.77.0.11:2380,cp2=https://10.77.0.12:2380"
    );
    assert!(!set.started);
}

#[test]
fn a_member_that_was_promoted_and_not_recorded_is_recorded_by_the_next_leader() {
    let mut cluster = second_admitted();
    let promoted = until(&mut cluster, |e| matches!(e, Effect::EtcdPromote { .. }));
    cluster.carry_out("cp1", &promoted);
    let plan = cluster.plan_cluster();
    let [Effect::Propose(Command::SetEtcdStage(set))] = &plan.effects[..] else {
        panic!("{:?}", plan.effects);
    };
    assert_eq!((set.stage, set.started), (EtcdStage::Voter, true));
    assert!(set.initial_cluster.is_empty());
}

#[test]
fn no_second_learner_while_there_is_one_recorded_or_listed() {
    let mut cluster = second_admitted();
    cluster.admit(3, Role::ControlPlane);
    cluster.raft.voters.extend([2, 3]);
    cluster.state.hosts.get_mut("cp2").unwrap().etcd.stage = EtcdStage::Learner;
    let reports = cluster.reports();
    let etcd = cluster.etcd.clone();
    assert_eq!(
        why(&plan_with(&cluster, &reports, Some(&etcd))),
        "etcd does not know cp2's member"
    );
    // A learner that belongs to no host.
    cluster.state.hosts.get_mut("cp2").unwrap().etcd.stage = EtcdStage::Absent;
    let mut foreign = etcd;
    foreign.push(EtcdMemberFact {
        id: 9,
        name: String::new(),
        peer_urls: vec!["https://10.77.0.99:2380".to_owned()],
        learner: true,
    });
    let plan = plan_with(&cluster, &reports, Some(&foreign));
    assert_eq!(why(&plan), "etcd has a learner already");
    assert!(
        plan.problems
            .iter()
            .any(|p| p.code == problem::ETCD_MEMBER_FOREIGN)
    );
}

#[test]
fn no_etcd_change_while_a_voters_member_is_not_ready() {
    let mut cluster = second_admitted();
    cluster.raft.voters.insert(2);
    let probe = ProbeFact {
        ready: false,
        detail: "timed out".to_owned(),
        ..ProbeFact::default()
    };
    cluster
        .facts
        .get_mut("cp1")
        .unwrap()
        .probes
        .insert(ComponentName::Etcd, probe);
    let reports = cluster.reports();
    let etcd = cluster.etcd.clone();
    assert_eq!(
        why(&plan_with(&cluster, &reports, Some(&etcd))),
        "cp2 joins etcd when the member of cp1 is ready"
    );
    assert_eq!(
        why(&plan_with(&cluster, &reports, None)),
        "etcd does not tell its members"
    );
}

#[test]
fn a_learner_is_promoted_only_while_its_process_runs() {
    let mut cluster = second_admitted();
    until(&mut cluster, |e| matches!(e, Effect::EtcdPromote { .. }));
    cluster.end("cp2", ComponentName::Etcd, 5);
    assert_eq!(
        why(&cluster.plan_cluster()),
        "cp2's etcd member is starting"
    );
}

#[test]
fn a_recorded_member_that_etcd_does_not_know_is_a_problem() {
    let cluster = second_admitted();
    let reports = cluster.reports();
    let plan = plan_with(&cluster, &reports, Some(&[]));
    let codes: Vec<&str> = plan.problems.iter().map(|p| p.code.as_str()).collect();
    assert_eq!(codes, [problem::ETCD_MEMBER_UNKNOWN, problem::EVEN_HOSTS]);
}

#[test]
fn the_lease_changes_when_a_majority_is_fenced_for_s_under_this_leader() {
    let mut cluster = second_admitted();
    until(&mut cluster, |e| {
        matches!(e, Effect::Propose(Command::SetLease { .. }))
    });
    let reports = cluster.reports();
    let plan = |since, leader_since_ms, now_ms| {
        plan_cluster(&ClusterCx {
            spec: &cluster.spec,
            state: &cluster.state,
            reports: &reports,
            raft: &cluster.raft,
            leader_id: 1,
            etcd_members: Some(&cluster.etcd),
            fence_majority_since_ms: since,
            turn_since_ms: None,
            leader_since_ms,
            now_ms,
        })
    };
    let change = [Effect::Propose(Command::SetLease {
        epoch: 2,
        members: vec![1, 2],
    })];
    assert_eq!(plan(Some(10_000), 0, 10_000 + LEASE_S_MS).effects, change);
    let early = plan(Some(10_000), 0, 10_000 + LEASE_S_MS - 1);
    assert!(early.effects.is_empty());
    assert_eq!(early.wake, Some(10_000 + LEASE_S_MS));
    assert!(plan(None, 0, 99_000).effects.is_empty());
    // What an earlier leader saw does not count.
    assert!(
        plan(Some(10_000), 11_000, 10_000 + LEASE_S_MS)
            .effects
            .is_empty()
    );
}

#[test]
fn a_host_whose_khavip_is_silent_does_not_join_the_lease() {
    let mut cluster = second_admitted();
    until(&mut cluster, |e| {
        matches!(e, Effect::Propose(Command::SetLease { .. }))
    });
    cluster
        .facts
        .get_mut("cp2")
        .unwrap()
        .vip
        .as_mut()
        .unwrap()
        .ready = false;
    assert_eq!(
        why(&cluster.plan_cluster()),
        "cp2 joins the lease when its khavip is past its silence"
    );
}

#[test]
fn a_fence_counts_only_at_the_present_epoch_and_in_a_fresh_report_of_a_majority() {
    let mut cluster = FakeCluster::new(spec("v1.20.2"));
    cluster.admit(2, Role::ControlPlane);
    cluster.admit(3, Role::ControlPlane);
    cluster.settle(80, |_| 1);
    let reports = cluster.reports();
    assert!(fence_majority(&cluster.state, &reports));
    let mut one_silent = reports.clone();
    one_silent.get_mut(&3).unwrap().1 = REPORT_FRESH_MS + 1;
    assert!(fence_majority(&cluster.state, &one_silent));
    one_silent
        .get_mut(&2)
        .unwrap()
        .0
        .vip
        .as_mut()
        .unwrap()
        .fence = 2;
    assert!(!fence_majority(&cluster.state, &one_silent));
    assert!(!fence_majority(&cluster.state, &BTreeMap::new()));
}

#[test]
fn even_numbers_of_hosts_are_said_loudly_and_odd_ones_are_not() {
    let mut cluster = FakeCluster::new(spec("v1.20.2"));
    let warned = |cluster: &FakeCluster| {
        let problems = cluster.plan_cluster().problems;
        problems
            .into_iter()
            .find(|p| p.code == problem::EVEN_HOSTS)
            .map(|p| p.text)
    };
    assert_eq!(warned(&cluster), None);
    cluster.admit(2, Role::ControlPlane);
    assert!(
        warned(&cluster)
            .unwrap()
            .contains("if either is lost, the cluster stops")
    );
    cluster.admit(3, Role::ControlPlane);
    assert_eq!(warned(&cluster), None);
    cluster.admit(4, Role::ControlPlane);
    assert_eq!(
        warned(&cluster).unwrap(),
        "4 hosts bear the loss of 1, no more than 3 would"
    );
}
