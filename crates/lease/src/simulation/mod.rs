//! Runs the lease on many hosts with everything that goes wrong, by seeds, and looks for two open gates.
//!
//! Environment: `KHACTL_SIM_SEEDS` how many seeds, `KHACTL_SIM_SECONDS` how long at the most, `KHACTL_SIM_SEED` one seed
//! alone, with its trace.

mod faults;
mod host;
mod network;
mod process;
mod world;

use std::time::Duration;

use world::{Control, World};

/// Real time, to bound the run; the simulation itself has only its own.
fn elapsed_since(start: std::time::SystemTime) -> Duration {
    start.elapsed().unwrap_or_default()
}

#[expect(
    clippy::disallowed_methods,
    reason = "bounds how long the test runs; nothing simulated reads it"
)]
fn start() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is not a number"))
    })
}

#[test]
fn no_seed_finds_two_open_gates_and_every_seed_ends_with_a_holder() {
    if let Some(seed) = number("KHACTL_SIM_SEED") {
        let mut world = World::new(seed, Control::None, true);
        let outcome = world.run();
        println!("{}", world.trace().join("\n"));
        panic!("seed {seed}: {outcome:?}");
    }
    let seeds = number("KHACTL_SIM_SEEDS").unwrap_or(u64::MAX);
    let limit = Duration::from_secs(number("KHACTL_SIM_SECONDS").unwrap_or(15));
    let start = start();
    let mut run = 0;
    let mut takeovers = 0;
    while run < seeds && elapsed_since(start) < limit {
        let mut world = World::new(run, Control::None, false);
        if let Err(violation) = world.run() {
            panic!("seed {run}: {violation}; replay with KHACTL_SIM_SEED={run}");
        }
        takeovers += world.takeovers();
        run += 1;
    }
    println!("lease simulation: {run} seeds, {takeovers} takeovers, no two holders");
    assert!(
        run > 0 && takeovers > run,
        "{run} seeds, {takeovers} takeovers: the simulation did not exercise the lease"
    );
}

/// A simulation that cannot see a missing rule proves nothing about the rules.
fn must_be_noticed(control: Control) {
    let limit = Duration::from_secs(number("KHACTL_SIM_SECONDS").unwrap_or(60).max(60));
    let start = start();
    let mut seed = 0;
    while elapsed_since(start) < limit {
        let outcome = World::new(seed, control, false).run();
        if let Err(violation) = outcome
            && violation.two_holders()
        {
            println!("{control:?}: seed {seed}: {violation}");
            return;
        }
        seed += 1;
    }
    panic!("{control:?}: {seed} seeds and nothing noticed");
}

#[test]
fn without_the_lock_check_a3_two_gates_open() {
    must_be_noticed(Control::Rule("lock_check"));
}

#[test]
fn with_expiries_that_shrink_a5_two_gates_open() {
    must_be_noticed(Control::Rule("expiry_never_shrinks"));
}

#[test]
fn without_the_exact_ballot_in_a_release_a6_two_gates_open() {
    must_be_noticed(Control::Rule("exact_release"));
}

#[test]
fn with_answers_before_the_record_a7_two_gates_open() {
    must_be_noticed(Control::RecordAfterAnswer);
}

#[test]
fn without_silence_after_a_reboot_a8_two_gates_open() {
    must_be_noticed(Control::Rule("silence"));
}

#[test]
fn without_the_seq_echo_p5_two_gates_open() {
    must_be_noticed(Control::Rule("seq_echo"));
}

#[test]
fn with_the_deadline_from_the_answer_p5_two_gates_open() {
    must_be_noticed(Control::Rule("deadline_from_sending"));
}

#[test]
fn with_the_release_before_the_closing_p9_two_gates_open() {
    must_be_noticed(Control::ReleaseBeforeClose);
}
