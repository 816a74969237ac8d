//! Runs the lease on many hosts with everything that goes wrong, by seeds, and looks for two that answer at once.
//!
//! It runs the shipped code: `Lease::step`, the datagram's and the record's bytes, the window against replays, the
//! release for a dead process. The clock, the network, the kernel and the control side are simulated. A seed gives the
//! same run every time.
//!
//! Environment: `KHACTL_SIM_SEEDS` how many seeds at least, `KHACTL_SIM_SECONDS` for how long at least, `KHACTL_SIM_FIRST`
//! the first of them, `KHACTL_SIM_SEED` one seed alone, with its trace.

mod biases;
mod control;
mod controls;
mod faults;
mod host;
mod khad;
mod leader;
mod network;
mod process;
mod queue;
mod runner;
mod scenario;
mod tmpfs;
mod trace;
mod verdict;
mod world;

use std::time::Duration;

use control::Control;
use runner::{number, replay, run_for};
use scenario::Scenario;

/// No simulated cluster has more hosts.
const HOSTS_MAX: usize = 8;

/// No simulated host sleeps for less, in nanoseconds.
const SLEEP_MIN: u64 = 100_000_000;

const CLUSTER: [u8; 16] = *b"simulated leases";

/// What every test run has; continuous integration goes on for three minutes (`make test`).
const SEEDS: u64 = 100_000;

#[test]
fn no_seed_finds_two_holders_and_every_seed_ends_with_one() {
    let scenario = Scenario::everything(Control::None);
    if let Some(seed) = number("KHACTL_SIM_SEED") {
        let (trace, result) = replay(&scenario, seed);
        println!("{}", trace.join("\n"));
        panic!("seed {seed}: {result:?}");
    }
    let first = number("KHACTL_SIM_FIRST").unwrap_or(0);
    let count = number("KHACTL_SIM_SEEDS").unwrap_or(SEEDS);
    let at_least = Duration::from_secs(number("KHACTL_SIM_SECONDS").unwrap_or(0));
    let outcome = run_for(&scenario, first, count, at_least, |_| true);
    if let Some((seed, violation)) = outcome.found {
        panic!("seed {seed}: {violation}; replay it with KHACTL_SIM_SEED={seed}");
    }
    println!(
        "lease simulation: {} seeds from {first} on, {} takeovers, {} changes of the members, never two holders",
        outcome.seeds, outcome.takeovers, outcome.epochs
    );
    assert!(outcome.seeds >= count, "{} seeds", outcome.seeds);
    assert!(
        outcome.takeovers > 2 * outcome.seeds && outcome.epochs > outcome.seeds / 10,
        "the simulation did not exercise the lease"
    );
}

#[test]
fn a_seed_gives_the_same_run_again() {
    let scenario = Scenario::everything(Control::None);
    for seed in 0..20 {
        assert_eq!(
            replay(&scenario, seed),
            replay(&scenario, seed),
            "seed {seed}"
        );
    }
}
