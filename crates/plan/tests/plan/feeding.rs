//! What khavip is told, and when.

use khactl_model::component::ComponentName;
use khactl_model::state::Role;
use khactl_plan::effect::Effect;
use khactl_plan::{Status, feed_digest, vip_feed};
use std::collections::BTreeSet;

use crate::fake::{FakeCluster, spec, status};

fn three() -> FakeCluster {
    let mut cluster = FakeCluster::new(spec("v1.20.2"));
    cluster.admit(2, Role::ControlPlane);
    cluster.admit(3, Role::Witness);
    cluster.settle(80, |_| 1);
    cluster
}

#[test]
fn it_is_told_the_members_and_the_apiservers_of_voters() {
    let cluster = three();
    insta::assert_json_snapshot!(vip_feed(&cluster.cx("cp1")));
}

#[test]
fn a_host_without_a_vote_in_etcd_is_no_backend() {
    let mut cluster = three();
    cluster.admit(4, Role::ControlPlane);
    let hosts: Vec<String> = vip_feed(&cluster.cx("cp1"))
        .backends
        .into_iter()
        .map(|b| b.host)
        .collect();
    assert_eq!(hosts, ["cp1", "cp2"]);
}

#[test]
fn a_host_that_fails_its_own_readiness_probe_is_drained_by_every_balancer() {
    let mut cluster = three();
    for facts in cluster.facts.values_mut() {
        facts.unready = BTreeSet::from([2]);
    }
    for host in ["cp1", "cp2", "cp3"] {
        let backends = vip_feed(&cluster.cx(host)).backends.into_iter();
        let drained: Vec<String> = backends
            .filter(|backend| backend.draining)
            .map(|backend| backend.host)
            .collect();
        assert_eq!(drained, ["cp2"], "at {host}");
    }
    assert!(matches!(
        &cluster.plan("cp1").effects[..],
        [Effect::FeedVip(_)]
    ));
}

#[test]
fn it_is_told_again_only_when_it_works_with_something_else() {
    let mut cluster = three();
    assert!(cluster.plan("cp1").effects.is_empty());
    cluster.state.lease.epoch += 1;
    let plan = cluster.plan("cp1");
    let feed = vip_feed(&cluster.cx("cp1"));
    assert_eq!(plan.effects, [Effect::FeedVip(Box::new(feed.clone()))]);
    assert_eq!(status(&plan, "khavip"), &Status::Ready);
    cluster
        .facts
        .get_mut("cp1")
        .unwrap()
        .vip
        .as_mut()
        .unwrap()
        .fed = feed_digest(&feed);
    assert!(cluster.plan("cp1").effects.is_empty());
}

#[test]
fn one_that_does_not_answer_is_neither_fed_nor_restarted() {
    let mut cluster = three();
    cluster.facts.get_mut("cp1").unwrap().vip = None;
    let plan = cluster.plan("cp1");
    assert!(plan.effects.is_empty());
    assert!(matches!(status(&plan, "khavip"), Status::Starting { .. }));
}

#[test]
fn a_restarted_one_waits_to_be_told_everything() {
    let mut cluster = three();
    cluster.end("cp1", ComponentName::Khavip, 0);
    cluster.pass(1);
    for effect in cluster.plan("cp1").effects {
        cluster.carry_out("cp1", &effect);
    }
    cluster.pass(1);
    let plan = cluster.plan("cp1");
    assert!(matches!(&plan.effects[..], [Effect::FeedVip(_)]));
    assert!(matches!(status(&plan, "khavip"), Status::Starting { .. }));
}
