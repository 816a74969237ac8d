//! Properties that hold for every registered component at every point on the way.

use khactl_model::component::ComponentName;
use khactl_model::state::Role;
use khactl_plan::components;
use proptest::prelude::*;

use crate::fake::{FakeCluster, spec};

/// A cluster somewhere on its way, with some processes ended.
fn on_the_way(rounds: u32, ended: &[usize]) -> FakeCluster {
    let mut cluster = FakeCluster::new(spec("v1.20.2"));
    cluster.admit(2, Role::ControlPlane);
    cluster.admit(3, Role::Witness);
    for _ in 0..rounds {
        cluster.pass(400);
        let names: Vec<String> = cluster.state.hosts.keys().cloned().collect();
        for name in names {
            for effect in cluster.plan(&name).effects {
                cluster.carry_out(&name, &effect);
            }
        }
        for effect in cluster.plan_cluster().effects {
            cluster.carry_out("cp1", &effect);
        }
    }
    for number in ended {
        let component = ComponentName::ALL[number % ComponentName::ALL.len()];
        if cluster.runs("cp1", component) {
            cluster.end("cp1", component, 2);
        }
    }
    cluster
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn planning_twice_on_the_same_facts_gives_the_same_plan(
        rounds in 0_u32..30,
        ended in proptest::collection::vec(0_usize..5, 0..4),
    ) {
        let cluster = on_the_way(rounds, &ended);
        for name in cluster.state.hosts.keys() {
            let cx = cluster.cx(name);
            for component in components() {
                prop_assert_eq!(component.plan(&cx), component.plan(&cx));
            }
            prop_assert_eq!(cluster.plan(name), cluster.plan(name));
        }
        prop_assert_eq!(cluster.plan_cluster(), cluster.plan_cluster());
    }

    #[test]
    fn a_plan_carried_out_twice_changes_no_more_than_once(rounds in 0_u32..30) {
        let mut once = on_the_way(rounds, &[]);
        let effects = once.plan("cp1").effects;
        for effect in &effects {
            once.carry_out("cp1", effect);
        }
        let facts = once.facts.clone();
        for effect in &effects {
            once.carry_out("cp1", effect);
        }
        prop_assert_eq!(facts, once.facts);
    }

    #[test]
    fn whatever_ended_is_running_again_in_the_end(
        ended in proptest::collection::vec(0_usize..5, 1..4),
    ) {
        let mut cluster = on_the_way(40, &ended);
        cluster.settle(40, |_| 1);
        for component in ComponentName::ALL {
            prop_assert!(cluster.runs("cp1", component), "{}", component);
        }
    }
}
