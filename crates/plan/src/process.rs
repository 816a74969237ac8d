//! The rule by which every supervised process is started, restarted and left alone.
//!
//! ```text
//! never started ------------------> start
//! runs with the wanted digest ----> leave it
//! runs with another --------------> restart
//! runs and hangs -----------------> end it; from then on as if it had ended by itself
//! ended after a stable run -------> start at once
//! ended with other arguments -----> start at once: its ends say nothing of these
//! ended n times soon after start -> wait 250 ms * 2^(n-1), at most 30 s, then start
//! ```
//!
//! khavip is given another [`Patience`]: without it the host has no part in the VIP. So are controller-manager and
//! scheduler after a SIGKILL, which khavip's fence gives them whenever the host is cut off.

use khactl_model::component::ComponentName;
use khactl_model::facts::{CrashFact, Facts, ProbeFact, ProcessFact};
use khactl_model::status::Problem;

use crate::cause::probable_cause;
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

/// Of a process that hangs: it does not get to hear the SIGTERM, but one that is only very slow may.
const HUNG_GRACE_MS: u64 = 1_000;

/// An end by SIGKILL, as it is noted.
const KILLED: &str = "signal 9";

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

/// Plans a process that khavip ends when no majority answers: a SIGKILL says nothing of the program.
pub(crate) fn keep_fenced(cx: &Cx<'_>, spec: ProcessSpec) -> Plan {
    let exit = cx
        .process(spec.name)
        .and_then(|process| process.exit.as_ref());
    let patience = if exit.is_some_and(|exit| exit.how == KILLED) {
        Patience::SHORT
    } else {
        Patience::USUAL
    };
    keep_with(cx, spec, patience)
}

/// The same with another patience.
pub(crate) fn keep_with(cx: &Cx<'_>, spec: ProcessSpec, patience: Patience) -> Plan {
    let name = spec.name;
    match cx.process(name) {
        None => start(spec, "it is started for the first time"),
        Some(process) if process.running && process.digest == digest(&spec) => {
            match cx.probe(name) {
                Some(ProbeFact {
                    hung: Some(why), ..
                }) => end_hung(cx, name, process.pid, why),
                Some(probe) if probe.ready => Plan::only(Status::Ready),
                Some(probe) => Plan::only(Status::starting(probe.detail.clone())),
                None => Plan::only(Status::starting("it was not probed yet")),
            }
        }
        Some(process) if process.running && process.digest.is_empty() => {
            start(spec, "what runs is not what is on record")
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

fn end_hung(cx: &Cx<'_>, name: ComponentName, pid: u32, why: &str) -> Plan {
    let effect = Effect::EndHung {
        name,
        pid,
        grace_ms: HUNG_GRACE_MS,
        why: why.to_owned(),
    };
    let mut plan = Plan::with(
        Status::starting(format!("it hangs and is started anew: {why}")),
        effect,
    );
    plan.problems.push(Problem {
        code: problem::HANGS.to_owned(),
        host: cx.host.name.clone(),
        text: format!("{name} hangs and is started anew: {why}"),
        advice: format!(
            "if it comes again: is {} short of processor, memory or disk? `khactl logs {name}` shows its last words",
            cx.host.name
        ),
    });
    plan
}

fn again(cx: &Cx<'_>, spec: ProcessSpec, process: &ProcessFact, patience: Patience) -> Plan {
    let name = spec.name;
    if process.digest != digest(&spec) {
        return start(spec, "what ended had other arguments");
    }
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

/// How a component last ended, if that was soon after its start and no stable run has followed.
pub fn crash_of(facts: &Facts, name: ComponentName) -> Option<CrashFact> {
    let process = facts.processes.get(&name)?;
    let exit = process.last_exit.as_ref()?;
    if process.quick_exits == 0 {
        return None;
    }
    let last_lines = facts.last_lines.get(&name).cloned().unwrap_or_default();
    Some(CrashFact {
        how: exit.how.clone(),
        ends: process.quick_exits,
        looping: process.quick_exits >= QUICK_EXITS_LOUD,
        cause: probable_cause(
            name,
            &exit.how,
            &last_lines,
            facts.strangers.get(&name).map(String::as_str),
        ),
        last_lines,
    })
}

fn keeps_ending(cx: &Cx<'_>, name: ComponentName, how: &str) -> Problem {
    let cause = crash_of(cx.facts, name).and_then(|crash| crash.cause);
    let (code, why, advice) = match cause {
        Some(cause) => (cause.code, cause.text, cause.advice),
        None => (
            problem::KEEPS_ENDING.to_owned(),
            how.to_owned(),
            format!(
                "`khactl logs {name} --host {}` shows its last words",
                cx.host.name
            ),
        ),
    };
    Problem {
        code,
        host: cx.host.name.clone(),
        text: format!("{name} ends again and again soon after its start: {why}"),
        advice,
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
