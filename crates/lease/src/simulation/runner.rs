//! Runs seeds on every core, and replays one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use super::scenario::Scenario;
use super::verdict::Violation;
use super::world::World;

/// What came of many seeds.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) seeds: u64,
    pub(super) takeovers: u64,
    pub(super) epochs: u64,
    /// The lowest seed known to violate what the run looked for.
    pub(super) found: Option<(u64, Violation)>,
}

/// Runs `count` seeds from `first`, in order but for what cores do at the same time; ends at the first violation that
/// `wanted` asks for.
pub(super) fn run(
    scenario: &Scenario,
    first: u64,
    count: u64,
    wanted: fn(&Violation) -> bool,
) -> Outcome {
    run_for(scenario, first, count, Duration::ZERO, wanted)
}

/// The same, and goes on with the seeds that follow until so much time has passed.
pub(super) fn run_for(
    scenario: &Scenario,
    first: u64,
    count: u64,
    at_least: Duration,
    wanted: fn(&Violation) -> bool,
) -> Outcome {
    let next = AtomicU64::new(first);
    let over = AtomicBool::new(false);
    let long_enough = AtomicBool::new(at_least.is_zero());
    let total = Mutex::new(Outcome::default());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let worker = || {
        let mut own = Outcome::default();
        while !over.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count && long_enough.load(Ordering::Relaxed) {
                break;
            }
            let mut world = World::new(seed, *scenario, false);
            let result = world.run();
            own.seeds += 1;
            own.takeovers += world.takeovers;
            own.epochs += world.epochs.len() as u64 - 1;
            if let Err(violation) = result
                && wanted(&violation)
            {
                own.found = Some((seed, violation));
                over.store(true, Ordering::Relaxed);
            }
        }
        let mut total = total.lock().expect("no worker panicked");
        total.seeds += own.seeds;
        total.takeovers += own.takeovers;
        total.epochs += own.epochs;
        let lowest = |found: &Option<(u64, Violation)>| found.as_ref().map_or(u64::MAX, |f| f.0);
        if lowest(&own.found) < lowest(&total.found) {
            total.found = own.found;
        }
    };
    let (working, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            let (worker, working) = (&worker, working.clone());
            scope.spawn(move || {
                worker();
                drop(working);
            });
        }
        drop(working);
        // Nobody says anything: the time passes, or all have ended before it, at a violation.
        let _ = ended.recv_timeout(at_least);
        long_enough.store(true, Ordering::Relaxed);
    });
    total.into_inner().expect("no worker panicked")
}

/// One seed again, with everything that happens in it.
pub(super) fn replay(scenario: &Scenario, seed: u64) -> (Vec<String>, Result<(), Violation>) {
    let mut world = World::new(seed, *scenario, true);
    let result = world.run();
    (world.trace.take().unwrap_or_default(), result)
}

/// A number from the environment.
pub(super) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| {
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is not a number"))
    })
}
