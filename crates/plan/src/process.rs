//! The rule by which every supervised process is started, restarted and left alone.
//!
//! ```text
//! never started ------------------> start
//! runs with the wanted digest ----> leave it
//! runs with another --------------> restart
//! ended after a stable run -------> start at once
//! ended n times soon after start -> wait 250 ms * 2^(n-1), at most 30 s, then start
//! ```
//!
//! khavip is given another [`Patience`]: without it the host has no part in the VIP.

use khactl_model::component::ComponentName;
use khactl_model::facts::ProcessFact;
use khactl_model::status::Problem;

use crate::component::{Plan, Status};
use crate::cx::Cx;
use crate::digest::digest;
use crate::effect::{Effect, ProcessSpec};
use crate::problem;

/// Short enough that one mishap is hardly noticed.
const DELAY_FIRST_MS: u64 = 250;
/// Long enough that a process which cannot start leaves the host its processor.
const DELAY_MAX_MS: u64 = 30_000;
/// So many quick ends in a row are no mishap.
const QUICK_EXITS_LOUD: u32 = 3;
/// Of a process that is no longer wanted here.
const GRACE_MS: u64 = 20_000;

/// How long a process must have run for its end to be no failure to start, and how long its next start is put
/// off at the most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) stable_ms: u64,
    pub(crate) delay_max_ms: u64,
}

impl Patience {
    /// For the components that need a while to come up: the count of quick ends says it all.
    const USUAL: Self = Self {
        stable_ms: u64::MAX,
        delay_max_ms: u64::MAX,
    };
    /// For one that is up within milliseconds: what ran for a second did start, whoever ended it.
    pub(crate) const SHORT: Self = Self {
        stable_ms: 1_000,
        delay_max_ms: 1_000,
    };
}

/// Plans a process: running as wanted, its newest probe decides whether it is ready.
pub(crate) fn keep(cx: &Cx<'_>, spec: ProcessSpec) -> Plan {
    keep_with(cx, spec, Patience::USUAL)
}

/// The same with another patience.
pub(crate) fn keep_with(cx: &Cx<'_>, spec: ProcessSpec, patience: Patience) -> Plan {
    let name = spec.name;
    match cx.process(name) {
        None => start(spec, "it is started for the first time"),
        Some(process) if process.running && process.digest == digest(&spec) => {
            Plan::only(match cx.probe(name) {
                Some(probe) if probe.ready => Status::Ready,
                Some(probe) => Status::starting(probe.detail.clone()),
                None => Status::starting("it was not probed yet"),
            })
        }
        Some(process) if process.running => start(spec, "its arguments have changed"),
        Some(process) => again(cx, spec, process, patience),
    }
}

/// Plans a process that this host does not run.
pub(crate) fn absent(cx: &Cx<'_>, name: ComponentName) -> Plan {
    if cx.runs(name) {
        let effect = Effect::StopProcess {
            name,
            grace_ms: GRACE_MS,
        };
        return Plan::with(Status::Absent, effect);
    }
    Plan::only(Status::Absent)
}

/// Milliseconds between the end and the next start of a process that ended `quick_exits` times
/// in a row soon after its start; up to a quarter more by `random`.
pub(crate) fn delay_ms(quick_exits: u32, random: u64) -> u64 {
    if quick_exits == 0 {
        return 0;
    }
    // 2^7 * 250 ms is already beyond the greatest delay.
    let plain = (DELAY_FIRST_MS << (quick_exits - 1).min(7)).min(DELAY_MAX_MS);
    plain + random % (plain / 4 + 1)
}

fn start(spec: ProcessSpec, why: &str) -> Plan {
    Plan::with(Status::starting(why), Effect::EnsureProcess(spec))
}

fn again(cx: &Cx<'_>, spec: ProcessSpec, process: &ProcessFact, patience: Patience) -> Plan {
    let name = spec.name;
    // Without an exit its end was not seen; it is as old as its start.
    let (ended_at_ms, how) = process
        .exit
        .as_ref()
        .map_or((process.started_at_ms, "its end was not seen"), |exit| {
            (exit.at_ms, exit.how.as_str())
        });
    let stable = ended_at_ms.saturating_sub(process.started_at_ms) >= patience.stable_ms;
    let delay_ms = if stable {
        0
    } else {
        delay_ms(process.quick_exits, spread(cx.jitter, ended_at_ms)).min(patience.delay_max_ms)
    };
    let until_ms = ended_at_ms.saturating_add(delay_ms);
    let mut plan = if cx.now_ms >= until_ms {
        start(spec, &format!("it is started again; it ended: {how}"))
    } else {
        Plan {
            wake: Some(until_ms),
            ..Plan::only(Status::BackOff {
                until_ms,
                why: how.to_owned(),
            })
        }
    };
    if process.quick_exits >= QUICK_EXITS_LOUD {
        plan.problems.push(keeps_ending(cx, name, how));
    }
    plan
}

fn keeps_ending(cx: &Cx<'_>, name: ComponentName, how: &str) -> Problem {
    Problem {
        code: problem::KEEPS_ENDING.to_owned(),
        host: cx.host.name.clone(),
        text: format!("{name} ends again and again soon after its start: {how}"),
        advice: format!(
            "`khactl logs {name}` on {} shows its last words",
            cx.host.name
        ),
    }
}

/// Another number for every end, the same one for the same end.
fn spread(jitter: u64, ended_at_ms: u64) -> u64 {
    // A multiplication by an odd constant (2^64 divided by the golden ratio) mixes the low bits
    // upwards; the high half is taken.
    (jitter ^ ended_at_ms).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stable_process_starts_again_at_once_and_a_failing_one_ever_later() {
        let delays: Vec<u64> = (0..12).map(|exits| delay_ms(exits, 0)).collect();
        assert_eq!(
            delays,
            [
                0, 250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000, 30000
            ]
        );
    }

    proptest! {
        #[test]
        fn a_delay_is_bounded_whatever_the_count_and_the_jitter(exits: u32, random: u64) {
            prop_assert!(delay_ms(exits, random) <= DELAY_MAX_MS + DELAY_MAX_MS / 4);
            prop_assert!(delay_ms(exits, random) >= delay_ms(exits, 0));
        }
    }
}
