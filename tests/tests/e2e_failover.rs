//! The VIP on real programs: whatever befalls its holder, it is never held twice, it is held again, and
//! the client is served again.
//!
//! One cluster for all of it, because it takes most of a minute to form. The outages are printed as a table;
//! what is asserted are states and counts.

use std::time::Duration;

use khactl_tests::failover::{Fault, Trial, Watched, table};
use khactl_tests::{Cluster, Random, soak};

const HOSTS: usize = 3;

/// Leases, elections and connects that are given up come to a fraction of it, also on busy cores: a client that waits
/// for longer waits for something that does not come by itself.
const UNSERVED_MAX: Duration = Duration::from_secs(5);

#[test]
fn no_fault_of_the_holder_gives_the_vip_two_holders_or_leaves_it_without_one() {
    let rounds = if soak() { 20 } else { 3 };
    let mut random = Random::seeded();
    let cluster = Cluster::up("e2efailover", HOSTS);
    let mut watched = Watched::new(&cluster);
    let mut trials: Vec<Trial> = Vec::new();
    for fault in Fault::chosen(&Fault::ALL) {
        for _ in 0..rounds {
            trials.push(watched.trial(fault, &mut random));
        }
    }
    cluster.step(&format!("outages in ms\n{}", table(&trials)));
    let twice: Vec<_> = trials
        .iter()
        .filter(|trial| !trial.overlaps.is_empty())
        .map(|trial| format!("{}: {}", trial.fault.name(), trial.overlaps.join("; ")))
        .collect();
    assert!(twice.is_empty(), "held twice:\n{}", twice.join("\n"));
    let unserved: Vec<_> = trials
        .iter()
        .filter(|trial| trial.during.outage.max(trial.after.outage) > UNSERVED_MAX)
        .map(|trial| format!("{}: {trial:?}", trial.fault.name()))
        .collect();
    assert!(unserved.is_empty(), "unserved:\n{}", unserved.join("\n"));
    let voters: Vec<_> = trials
        .iter()
        .filter_map(|trial| trial.voter_in_time)
        .collect();
    let answered = voters.iter().filter(|voter| voter.answered).count();
    let took_part = voters.iter().filter(|voter| voter.took_part).count();
    cluster.step(&format!(
        "of {} voters that died {answered} were back while the lease ran, {took_part} took part in it",
        voters.len()
    ));
    // Of one that comes later nothing is shown: nobody else holds any more what it could grant.
    assert!(answered > 0 || voters.is_empty(), "none was back in time");

    // The control of it all: without the gate the same oracle sees what the gate prevents.
    let seen = watched.stopped_without_gate();
    cluster.step(&format!("without the gate: {}", seen.join("; ")));
}
