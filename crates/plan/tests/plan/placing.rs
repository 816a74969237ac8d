//! Where the VIP should be: preference and fitness, and nothing that toggles moves it for ever.

use khactl_model::facts::{HostReport, VipFact};
use khactl_model::spec::ValidSpec;
use khactl_model::state::Role;
use khactl_plan::{Move, PlacementCx, Steadiness, place};
use proptest::prelude::*;
use std::collections::BTreeMap;

use crate::fake::{FakeCluster, parse};

const TICK_MS: u64 = 500;
const MINUTE: u64 = 60_000 / TICK_MS;

fn spec(failback: bool) -> ValidSpec {
    parse(&format!(
        "apiVersion: khactl.io/v1alpha1\n\
         kind: Cluster\n\
         metadata: {{name: prod}}\n\
         spec:\n\
         \x20 vip: {{addresses: [10.77.0.100/24], preference: [cp2], failback: {failback}}}\n\
         \x20 controlPlane:\n\
         \x20   kubernetesVersion: v1.20.2\n\
         \x20   bundle: /opt/khactl/bundles/v1.20.2\n"
    ))
}

/// Hosts 1, 2 (preferred) and 3; the VIP goes wherever the decision says, at once.
struct Run {
    cluster: FakeCluster,
    steadiness: Steadiness,
    holder: u64,
    now_ms: u64,
    moves: Vec<(u64, Move)>,
}

impl Run {
    fn new(failback: bool, holder: u64) -> Self {
        let mut cluster = FakeCluster::new(spec(failback));
        cluster.admit(2, Role::ControlPlane);
        cluster.admit(3, Role::ControlPlane);
        cluster.state.lease.members = vec![1, 2, 3];
        Self {
            cluster,
            steadiness: Steadiness::default(),
            holder,
            now_ms: 1_000,
            moves: Vec::new(),
        }
    }

    /// One look; `fit` and `heard` say it of every host.
    fn tick(&mut self, fit: impl Fn(u64) -> bool, heard: impl Fn(u64) -> bool) {
        self.now_ms += TICK_MS;
        let reports: BTreeMap<u64, (HostReport, u64)> = [1, 2, 3]
            .into_iter()
            .map(|id| {
                let report = HostReport {
                    host_id: id,
                    version: String::new(),
                    machine: String::new(),
                    components: Vec::new(),
                    vip: Some(VipFact {
                        holding: self.holder == id,
                        ready: true,
                        fit: fit(id),
                        ..VipFact::default()
                    }),
                    problems: Vec::new(),
                    certificates: BTreeMap::new(),
                    arguments: 0,
                    unready: false,
                };
                (id, (report, if heard(id) { 100 } else { 60_000 }))
            })
            .collect();
        self.steadiness
            .observe(&self.cluster.state, &reports, self.now_ms);
        let wanted = place(&PlacementCx {
            spec: &self.cluster.spec,
            state: &self.cluster.state,
            reports: &reports,
            steadiness: &self.steadiness,
            now_ms: self.now_ms,
        });
        if let Some(wanted) = wanted {
            assert_eq!(wanted.from, self.holder);
            assert!(fit(wanted.to), "the VIP goes to a host that cannot serve");
            assert!(heard(wanted.to), "the VIP goes to a host that is silent");
            self.holder = wanted.to;
            self.steadiness.moved(self.now_ms);
            self.moves.push((self.now_ms, wanted));
        }
    }

    fn ticks(&mut self, count: u64, fit: impl Fn(u64) -> bool) {
        for _ in 0..count {
            self.tick(&fit, |_| true);
        }
    }
}

#[test]
fn a_holder_that_serves_stays_whoever_is_preferred() {
    let mut run = Run::new(false, 1);
    run.ticks(10 * MINUTE, |_| true);
    assert_eq!(run.moves, []);
}

#[test]
fn with_failback_the_preferred_host_takes_it_back_after_ten_steady_seconds_and_keeps_it() {
    let mut run = Run::new(true, 1);
    run.ticks(4, |id| id != 2);
    run.ticks(19, |_| true);
    assert_eq!(run.moves, [], "too early");
    run.ticks(10 * MINUTE, |_| true);
    let to: Vec<u64> = run.moves.iter().map(|(_, wanted)| wanted.to).collect();
    assert_eq!(to, [2]);
}

#[test]
fn an_equal_is_no_reason_to_move() {
    let mut run = Run::new(true, 3);
    run.ticks(10 * MINUTE, |id| id != 2);
    assert_eq!(run.moves, [], "host 1 is not preferred to host 3");
}

#[test]
fn a_holder_that_cannot_serve_is_relieved_by_the_most_preferred_that_can() {
    let mut run = Run::new(false, 1);
    run.ticks(10, |_| true);
    run.ticks(10, |id| id != 1);
    assert_eq!(run.holder, 2);
    assert_eq!(run.moves.len(), 1);
}

#[test]
fn where_nobody_can_serve_the_holder_stays() {
    let mut run = Run::new(true, 1);
    run.ticks(10, |_| true);
    run.ticks(10 * MINUTE, |_| false);
    assert_eq!(run.moves, []);
}

#[test]
fn a_silent_host_gets_nothing() {
    let mut run = Run::new(true, 1);
    for _ in 0..MINUTE {
        run.tick(|_| true, |id| id != 2);
    }
    assert_eq!(run.moves, []);
}

#[test]
fn backends_that_come_and_go_for_everybody_move_nothing_without_failback() {
    for period in 1..60 {
        let mut run = Run::new(false, 1);
        for tick in 0..10 * MINUTE {
            run.tick(|_| tick / period % 2 == 0, |_| true);
        }
        assert_eq!(run.moves, [], "every {period} ticks");
    }
}

#[test]
fn a_preferred_host_that_toggles_for_ten_minutes_gets_it_back_ever_more_rarely() {
    for period in 1..200 {
        let mut run = Run::new(true, 1);
        for tick in 0..10 * MINUTE {
            run.tick(|id| id != 2 || tick / period % 2 == 1, |_| true);
        }
        let back = run
            .moves
            .iter()
            .filter(|(_, wanted)| wanted.to == 2)
            .count();
        assert!(
            back <= 5,
            "{back} times with {period} ticks: {:?}",
            run.moves
        );
    }
}

proptest! {
    #[test]
    fn whatever_toggles_the_vip_moves_rarely(seed in prop::collection::vec((1_u64..40, 0_u64..40), 3), failback: bool) {
        let mut run = Run::new(failback, 1);
        for tick in 0..10 * MINUTE {
            run.tick(
                |id| {
                    let (period, phase) = seed[usize::try_from(id - 1).unwrap()];
                    (tick + phase) / period % 2 == 0
                },
                |_| true,
            );
        }
        // Toggling every 20 s at the slowest is 30 times; each host is relieved at most as often as its falls allow.
        prop_assert!(run.moves.len() <= 24, "{} moves: {:?}", run.moves.len(), run.moves);
        let near = run.moves.windows(2).filter(|pair| pair[1].0 - pair[0].0 < 5_000).count();
        prop_assert_eq!(near, 0);
    }
}
