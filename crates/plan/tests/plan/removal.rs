//! Hosts that leave, alive or dead: in the reverse order of joining, and never below a majority.

use khactl_model::command::{Command, Entry};
use khactl_model::component::ComponentName;
use khactl_model::facts::{HostReport, VipFact};
use khactl_model::state::{EtcdStage, Role};
use khactl_plan::effect::Effect;
use khactl_plan::{ClusterCx, Status, Verdict, judge_removal, plan_cluster};
use std::collections::BTreeMap;

use crate::fake::{FakeCluster, parse, spec};

/// Hosts `cp1` to `cpN`, all joined.
fn cluster_of(hosts: u8) -> FakeCluster {
    let mut cluster = FakeCluster::new(spec("v1.20.2"));
    for number in 2..=hosts {
        cluster.admit(number, Role::ControlPlane);
    }
    cluster.settle(60 * u32::from(hosts), |_| 1);
    cluster
}

fn remove(cluster: &mut FakeCluster, name: &str) {
    let entry = Entry {
        actor: "test".to_owned(),
        at_ms: 0,
        command: Command::StartRemoval {
            host_name: name.to_owned(),
            forced: true,
            leaves: false,
        },
    };
    cluster.state.apply(&entry).unwrap();
}

/// Power off: no report comes any more, and its member of etcd does not answer.
fn kill(cluster: &mut FakeCluster, id: u64) {
    cluster.silent.insert(id);
}

/// What the leader does until nothing is left, in short words.
fn steps(cluster: &mut FakeCluster) -> Vec<String> {
    let mut seen = Vec::new();
    for _ in 0..60 {
        cluster.pass(500);
        feed(cluster);
        let plan = cluster.plan_cluster();
        assert!(plan.effects.len() <= 1, "{:?}", plan.effects);
        let Some(effect) = plan.effects.first() else {
            continue;
        };
        seen.push(match effect {
            Effect::RaftTransfer { host_id } => format!("{host_id} leads"),
            Effect::EtcdRemove { host_name, .. } => format!("{host_name} out of etcd"),
            Effect::RaftRemove { host_id } => format!("{host_id} out of raft"),
            Effect::Propose(Command::SetLease { epoch, members }) => {
                format!("epoch {epoch} {members:?}")
            }
            Effect::Propose(Command::SetEtcdStage(set)) => {
                format!("{} {}", set.host_name, set.stage.as_str())
            }
            Effect::Propose(Command::RecordStep { step, .. }) => step.clone(),
            Effect::Propose(Command::FinishRemoval { host_id }) => format!("{host_id} gone"),
            other => panic!("{other:?}"),
        });
        cluster.carry_out("cp1", effect);
    }
    assert_eq!(cluster.plan_cluster().status, Status::Ready);
    seen
}

/// What each khavip is told of the lease; and what a host ends that leaves.
fn feed(cluster: &mut FakeCluster) {
    let names: Vec<String> = cluster.state.hosts.keys().cloned().collect();
    for name in names {
        for effect in cluster.plan(&name).effects {
            if matches!(effect, Effect::FeedVip(_) | Effect::StopProcess { .. }) {
                cluster.carry_out(&name, &effect);
            }
        }
    }
}

fn judge(cluster: &FakeCluster, id: u64) -> Verdict {
    let reports = cluster.reports();
    judge_removal(&cx(cluster, &reports), id)
}

fn cx<'a>(
    cluster: &'a FakeCluster,
    reports: &'a BTreeMap<u64, (HostReport, u64)>,
) -> ClusterCx<'a> {
    ClusterCx {
        spec: &cluster.spec,
        state: &cluster.state,
        reports,
        raft: &cluster.raft,
        leader_id: cluster.leader_id,
        etcd_members: Some(&cluster.etcd),
        fence_majority_since_ms: Some(0),
        turn_since_ms: None,
        leader_since_ms: 0,
        now_ms: cluster.now_ms,
    }
}

const CP3_LEAVES: [&str; 6] = [
    "epoch 4 [1, 2]",
    "irrevocable",
    "cp3 out of etcd",
    "cp3 absent",
    "3 out of raft",
    "3 gone",
];

#[test]
fn a_host_that_lives_leaves_in_the_reverse_order_of_joining() {
    let mut cluster = cluster_of(3);
    remove(&mut cluster, "cp3");
    assert_eq!(steps(&mut cluster), CP3_LEAVES);
    assert!(!cluster.state.hosts.contains_key("cp3"));
    assert_eq!(cluster.etcd.len(), 2);
}

#[test]
fn a_dead_host_leaves_the_same_way() {
    let mut cluster = cluster_of(3);
    kill(&mut cluster, 3);
    remove(&mut cluster, "cp3");
    assert_eq!(steps(&mut cluster), CP3_LEAVES);
}

#[test]
fn a_leader_that_is_to_leave_hands_leadership_over_first() {
    let mut cluster = cluster_of(3);
    // It knows no more of the others than that one of them has the whole log.
    cluster.raft.matched = BTreeMap::from([(1, 9), (2, 7), (3, 9)]);
    remove(&mut cluster, "cp1");
    assert_eq!(
        steps(&mut cluster),
        [
            "3 leads",
            "epoch 4 [2, 3]",
            "irrevocable",
            "cp1 out of etcd",
            "cp1 absent",
            "1 out of raft",
            "1 gone"
        ]
    );
}

fn vip_of<'a>(cluster: &'a mut FakeCluster, host: &str) -> &'a mut VipFact {
    let facts = cluster.facts.get_mut(host).unwrap();
    facts.vip.as_mut().unwrap()
}

#[test]
fn the_vip_is_handed_over_and_the_api_server_ended_before_the_host_leaves_lease_and_etcd() {
    let mut cluster = cluster_of(3);
    let why = |cluster: &FakeCluster| cluster.plan_cluster().status.why().to_owned();
    for vip in cluster.facts.values_mut().filter_map(|f| f.vip.as_mut()) {
        vip.fit = true;
    }
    vip_of(&mut cluster, "cp3").holding = true;
    remove(&mut cluster, "cp3");
    cluster.pass(10_000);
    assert_eq!(why(&cluster), "cp3 hands the VIP over");
    // Nobody else can have it: then it waits for nobody.
    let others_fit = |cluster: &mut FakeCluster, fit: bool| {
        for name in ["cp1", "cp2"] {
            vip_of(cluster, name).fit = fit;
        }
    };
    others_fit(&mut cluster, false);
    assert_eq!(why(&cluster), "cp3 leaves the lease");
    others_fit(&mut cluster, true);
    vip_of(&mut cluster, "cp3").holding = false;

    let effect = cluster.plan_cluster().effects.remove(0);
    cluster.carry_out("cp1", &effect);
    assert!(cluster.runs("cp3", ComponentName::KubeApiserver));
    assert_eq!(why(&cluster), "cp3 ends its kube-apiserver");
    feed(&mut cluster);
    assert!(!cluster.runs("cp3", ComponentName::KubeApiserver));
    assert!(cluster.runs("cp3", ComponentName::Etcd));
    assert_eq!(why(&cluster), "from here on cp3 can only leave");
    let effect = cluster.plan_cluster().effects.remove(0);
    cluster.carry_out("cp1", &effect);
    assert_eq!(why(&cluster), "cp3 leaves etcd");
}

#[test]
fn a_removal_is_aborted_up_to_its_point_of_no_return_and_the_host_is_whole_again() {
    let abort = |cluster: &mut FakeCluster| {
        let operation = *cluster.state.operations.keys().last().unwrap();
        cluster.state.apply(&Entry {
            actor: "test".to_owned(),
            at_ms: 0,
            command: Command::AbortRemoval { operation },
        })
    };
    let mut cluster = cluster_of(3);
    remove(&mut cluster, "cp3");
    cluster.pass(10_000);
    let effect = cluster.plan_cluster().effects.remove(0);
    cluster.carry_out("cp1", &effect);
    assert_eq!(cluster.state.lease.members, [1, 2]);
    feed(&mut cluster);
    assert!(!cluster.runs("cp3", ComponentName::KubeApiserver));
    abort(&mut cluster).unwrap();
    abort(&mut cluster).unwrap();
    cluster.settle(120, |_| 1);
    assert_eq!(cluster.state.lease.members, [1, 2, 3]);
    assert!(cluster.runs("cp3", ComponentName::KubeApiserver));

    remove(&mut cluster, "cp3");
    for _ in 0..60 {
        cluster.pass(500);
        feed(&mut cluster);
        let Some(effect) = cluster.plan_cluster().effects.first().cloned() else {
            continue;
        };
        let irrevocable = matches!(effect, Effect::Propose(Command::RecordStep { .. }));
        cluster.carry_out("cp1", &effect);
        if irrevocable {
            break;
        }
    }
    assert_eq!(abort(&mut cluster).unwrap_err().code, "KHA2089");
    assert!(steps(&mut cluster).ends_with(&["3 gone".to_owned()]));
    assert_eq!(abort(&mut cluster).unwrap_err().code, "KHA2088");
}

#[test]
fn no_balancer_leads_anything_new_to_a_host_that_is_leaving() {
    let mut cluster = cluster_of(3);
    let backends = |cluster: &FakeCluster| -> Vec<String> {
        let feed = khactl_plan::vip_feed(&cluster.cx("cp1"));
        let offered = feed.backends.into_iter().filter(|b| !b.draining);
        offered.map(|b| b.host).collect()
    };
    assert_eq!(backends(&cluster), ["cp1", "cp2", "cp3"]);
    remove(&mut cluster, "cp3");
    assert_eq!(backends(&cluster), ["cp1", "cp2"]);
}

#[test]
fn without_another_voter_that_reports_a_leader_stays() {
    let mut cluster = cluster_of(2);
    kill(&mut cluster, 2);
    remove(&mut cluster, "cp1");
    let plan = cluster.plan_cluster();
    assert!(plan.effects.is_empty(), "{:?}", plan.effects);
    assert_eq!(plan.status.why(), "cp1 leads, and no other voter reports");
}

#[test]
fn two_that_leave_go_one_after_the_other() {
    let mut cluster = cluster_of(5);
    remove(&mut cluster, "cp5");
    remove(&mut cluster, "cp4");
    let seen = steps(&mut cluster);
    assert_eq!(seen[0], "epoch 6 [1, 2, 3, 5]");
    assert_eq!(seen[5], "4 gone");
    assert_eq!(seen[6], "epoch 7 [1, 2, 3]");
    assert_eq!(seen.len(), 12);
}

#[test]
fn a_host_that_is_leaving_is_not_taken_in_again_and_does_not_hold_others_up() {
    let mut cluster = cluster_of(3);
    kill(&mut cluster, 3);
    remove(&mut cluster, "cp3");
    cluster.admit(4, Role::ControlPlane);
    cluster.settle(120, |_| 1);
    assert_eq!(cluster.state.lease.members, [1, 2, 4]);
    assert_eq!(cluster.host("cp4").etcd.stage, EtcdStage::Voter);
    assert!(!cluster.raft.voters.contains(&3) && !cluster.raft.learners.contains(&3));
}

#[test]
fn a_lease_member_leaves_only_when_a_majority_was_fenced_for_s_under_this_leader() {
    let mut cluster = cluster_of(3);
    remove(&mut cluster, "cp3");
    let reports = cluster.reports();
    let plan = |since, leader_since_ms, now_ms| {
        plan_cluster(&ClusterCx {
            fence_majority_since_ms: since,
            leader_since_ms,
            now_ms,
            ..cx(&cluster, &reports)
        })
        .effects
    };
    let due = 10_000 + khactl_plan::LEASE_S_MS;
    assert_eq!(plan(Some(10_000), 0, due).len(), 1);
    assert!(plan(Some(10_000), 0, due - 1).is_empty());
    assert!(plan(Some(10_000), 10_001, due).is_empty());
    assert!(plan(None, 0, 99_000).is_empty());
}

#[test]
fn no_step_of_a_removal_leaves_a_group_without_its_majority() {
    let mut cluster = cluster_of(3);
    remove(&mut cluster, "cp3");
    // Asked for while all ran; then the second one dies.
    kill(&mut cluster, 2);
    let plan = cluster.plan_cluster();
    assert!(plan.effects.is_empty(), "{:?}", plan.effects);
    assert_eq!(
        plan.status.why(),
        "cp3 cannot leave the VIP's lease: of 2 members 1 would run, and 2 must"
    );
    cluster.silent.clear();
    assert_eq!(steps(&mut cluster), CP3_LEAVES);
}

#[test]
fn removals_are_judged_with_numbers() {
    let mut cluster = cluster_of(3);
    let Verdict::BearsLess(text) = judge(&cluster, 3) else {
        panic!("{:?}", judge(&cluster, 3));
    };
    assert!(
        text.starts_with(
            "Raft bears the loss of 1 of its 3 members now, and of 0 of 2 afterwards; etcd bears"
        ),
        "{text}"
    );
    kill(&mut cluster, 3);
    assert_eq!(judge(&cluster, 3), Verdict::Harmless);
    assert_eq!(
        judge(&cluster, 2),
        Verdict::Stops("Raft would stand still: of 2 members 1 would run, and 2 must".to_owned())
    );
    // Four bear no more than three.
    assert_eq!(judge(&cluster_of(4), 4), Verdict::Harmless);
    // Who is leaving does not count any more.
    let mut cluster = cluster_of(4);
    remove(&mut cluster, "cp4");
    assert!(matches!(judge(&cluster, 3), Verdict::BearsLess(_)));
}

#[test]
fn witnesses_alone_are_no_control_plane() {
    let mut cluster = FakeCluster::new(spec("v1.20.2"));
    cluster.admit(2, Role::Witness);
    cluster.admit(3, Role::Witness);
    cluster.settle(180, |_| 1);
    let text = "no control-plane host that runs would be left".to_owned();
    assert_eq!(judge(&cluster, 1), Verdict::Stops(text));
}

#[test]
fn a_member_of_etcd_that_does_not_serve_counts_as_lost() {
    let mut cluster = cluster_of(3);
    cluster.end("cp2", ComponentName::Etcd, 5);
    let Verdict::Stops(text) = judge(&cluster, 3) else {
        panic!("{:?}", judge(&cluster, 3));
    };
    assert!(text.starts_with("etcd would stand still"), "{text}");
}

#[test]
fn a_host_of_an_external_control_plane_leaves_without_etcd() {
    let text = "apiVersion: khactl.io/v1alpha1\n\
                kind: Cluster\n\
                metadata: {name: prod}\n\
                spec:\n\
                \x20 vip: {addresses: [10.77.0.100/24]}\n\
                \x20 balancer: {port: 8443}\n\
                \x20 controlPlane: {mode: external}\n";
    let mut cluster = FakeCluster::new(parse(text));
    cluster.admit(2, Role::ControlPlane);
    cluster.admit(3, Role::ControlPlane);
    cluster.settle(100, |_| 1);
    remove(&mut cluster, "cp3");
    assert_eq!(
        steps(&mut cluster),
        ["epoch 4 [1, 2]", "irrevocable", "3 out of raft", "3 gone"]
    );
}
