//! Other arguments of components, host by host: the next one takes them only when every host is well, the one
//! before runs with them, and no balancer sends it anything new. If a component of a host that took them ends again and
//! again, everyone goes back; while one has ended and not run for long since, no other host takes them.
//!
//! ```text
//! all hosts are well -> a host is drained -> it takes them -> it is ready -> it keeps them -> the next host
//!                       DrainHost            StepArguments    |              StepArguments
//!                                                             `-> it ends again and again -> the spec as before,
//!                                                                 ChangeArguments            with a reason
//! ```

use khactl_model::command::Command;
use khactl_model::component::ComponentName;
use khactl_model::facts::{ComponentReport, ComponentState, HostReport};
use khactl_model::spec::{ClusterSpec, ValidSpec};
use khactl_model::state::{Host, HostArguments, Role};
use khactl_model::status::Problem;
use std::collections::{BTreeMap, BTreeSet};

use super::{ClusterCx, Step};
use crate::effect::Effect;
use crate::problem;
use crate::spec_change::with_arguments_of;

/// One end soon after the start may be a mishap: a port that is still in use.
const ENDS_TOO_MANY: u32 = 2;

/// So long all components have run when their host keeps what it took: one that cannot do with its arguments may serve
/// for a moment before it ends.
const PROVEN_MS: u64 = 5_000;

/// So long balancers are waited for: one that cannot be told must not hold a change up, and costs its clients no more
/// than a connect that is repeated.
const DRAIN_MS: u64 = 3_000;

/// The next step of a change of arguments.
pub(super) fn step(cx: &ClusterCx<'_>) -> Step {
    let arguments = &cx.state.arguments;
    let hosts = cx.staying();
    let of = |host: &Host| arguments.hosts.get(&host.id).copied();
    if let Some(step) = regret(cx) {
        return step;
    }
    let in_turn = hosts.iter().find_map(|&host| {
        let own = of(host)?;
        Some((host, own, own.before?))
    });
    if let Some((host, own, before)) = in_turn {
        return turn(cx, host, own, before);
    }
    let mut left: Vec<&Host> = hosts
        .into_iter()
        .filter(|host| of(host).is_some_and(|own| own.revision != arguments.revision))
        .collect();
    // Who cannot do with what it has goes first: until it has other arguments the others wait for it.
    left.sort_by_key(|host| failing(cx, host).is_empty());
    let Some(next) = left.first() else {
        return Step::Passed;
    };
    held_up(cx, next).unwrap_or_else(|| drain(next, arguments.revision))
}

/// What is to be told of a change that was taken back.
pub(super) fn problems(cx: &ClusterCx<'_>) -> Option<Problem> {
    let back = cx.state.arguments.rolled_back.as_ref()?;
    Some(Problem {
        code: problem::ARGUMENTS_TAKEN_BACK.to_owned(),
        host: String::new(),
        text: format!(
            "the arguments of spec revision {} were taken back: {}",
            back.revision, back.why
        ),
        advice: "correct them, then `khactl config apply -f cluster.yaml`; `khactl config history` shows the revisions"
            .to_owned(),
    })
}

fn turn(cx: &ClusterCx<'_>, host: &Host, own: HostArguments, before: u64) -> Step {
    let newest = cx.state.arguments.revision;
    if own.revision != newest {
        // While it runs with what it had, what holds the next one up holds it up too.
        let untouched = own.revision == before;
        let wait = untouched.then(|| held_up(cx, host)).flatten();
        return wait
            .or_else(|| undrained(cx, host))
            .unwrap_or_else(|| take(host, newest));
    }
    let Some(report) = taken(cx, host, own.revision) else {
        let why = format!("{} takes the arguments of revision {newest}", host.name);
        return Step::Wait(why, None);
    };
    if let Some(ended) = report.components.iter().find(|found| ends(found))
        && let Some(step) = back(cx, host, ended, before)
    {
        return step;
    }
    match report.components.iter().find(|found| !is_well(found)) {
        Some(found) => {
            let why = format!(
                "{} of {} is not ready with the arguments of revision {newest}: {}",
                found.name, host.name, found.detail
            );
            Step::Wait(why, None)
        }
        None if report.components.iter().any(is_young) => {
            let why = format!(
                "{} runs with the arguments of revision {newest} and is to prove them",
                host.name
            );
            Step::Wait(why, Some(cx.now_ms + PROVEN_MS))
        }
        None => Step::Do(
            Effect::Propose(Command::StepArguments {
                host_id: host.id,
                revision: newest,
                keep: true,
            }),
            format!("{} runs with the arguments of revision {newest}", host.name),
        ),
    }
}

/// Waits for all hosts to be well: with one that is lost, a restart would make two. What fails on the next host itself is not
/// waited for, nor the same elsewhere: these arguments may be what mends it.
fn held_up(cx: &ClusterCx<'_>, next: &Host) -> Option<Step> {
    let hosts = cx.staying();
    let failing = failing(cx, next);
    // Who leaves restarts what it has at its own time.
    let leaves = (cx.hosts().len() > hosts.len()).then(|| "a host leaves".to_owned());
    let why = leaves
        .or_else(|| hosts.iter().find_map(|host| unwell(cx, host, &failing)))
        .or_else(|| failing.is_empty().then(|| unproven(cx)).flatten())?;
    let why = format!(
        "{} takes the arguments of revision {} when all hosts are ready: {why}",
        next.name, cx.state.arguments.revision
    );
    Some(Step::Wait(why, None))
}

fn drain(host: &Host, revision: u64) -> Step {
    Step::Do(
        Effect::Propose(Command::DrainHost {
            host_id: host.id,
            revision,
        }),
        format!(
            "{} is drained for the arguments of revision {revision}",
            host.name
        ),
    )
}

/// Waits for a balancer that may still send new connections to that host.
fn undrained(cx: &ClusterCx<'_>, drained: &Host) -> Option<Step> {
    let until_ms = cx.turn_since_ms.unwrap_or(cx.now_ms) + DRAIN_MS;
    // Nobody sends a witness anything.
    if drained.role == Role::Witness || cx.now_ms >= until_ms {
        return None;
    }
    let hosts = cx.hosts();
    let sends = hosts.iter().find(|host| !drains(cx, host, drained))?;
    let why = format!(
        "{} takes other arguments when the balancer of {} sends it nothing new",
        drained.name, sends.name
    );
    Some(Step::Wait(why, Some(until_ms)))
}

fn drains(cx: &ClusterCx<'_>, host: &Host, drained: &Host) -> bool {
    cx.report(host.id)
        .and_then(|report| report.vip.as_ref())
        .is_some_and(|vip| vip.draining.contains(&drained.name))
}

fn take(host: &Host, revision: u64) -> Step {
    Step::Do(
        Effect::Propose(Command::StepArguments {
            host_id: host.id,
            revision,
            keep: false,
        }),
        format!("{} takes the arguments of revision {revision}", host.name),
    )
}

/// Takes the newest arguments back where a host has kept them and cannot do with them after all.
fn regret(cx: &ClusterCx<'_>) -> Option<Step> {
    let before = before(cx)?;
    kept(cx).into_iter().find_map(|(host, report)| {
        let ended = report.components.iter().find(|found| ends(found))?;
        back(cx, host, ended, before)
    })
}

/// A component that has ended since its host kept the newest arguments, and has not run for long enough to forget that. Where
/// the others have the same arguments by another revision, they have them already.
fn unproven(cx: &ClusterCx<'_>) -> Option<String> {
    let (host, ended) = kept(cx).into_iter().find_map(|(host, report)| {
        let mut found = report.components.iter();
        Some((host, found.find(|found| found.crash.is_some())?))
    })?;
    with_those_of(cx, before(cx)?)?;
    Some(format!(
        "{} of {} ended with them and has not run for a minute since",
        ended.name, host.name
    ))
}

/// Hosts that have kept the newest arguments while not all have, with what they report of them.
fn kept<'a>(cx: &ClusterCx<'a>) -> Vec<(&'a Host, &'a HostReport)> {
    let arguments = &cx.state.arguments;
    let keeps = HostArguments {
        revision: arguments.revision,
        before: None,
    };
    cx.staying()
        .into_iter()
        .filter(|host| arguments.hosts.get(&host.id) == Some(&keeps))
        .filter_map(|host| Some((host, taken(cx, host, keeps.revision)?)))
        .collect()
}

/// The revision whose arguments those have who have not kept the newest.
fn before(cx: &ClusterCx<'_>) -> Option<u64> {
    let arguments = &cx.state.arguments;
    cx.staying().into_iter().find_map(|host| {
        let own = arguments.hosts.get(&host.id)?;
        let before = own.before.unwrap_or(own.revision);
        (before != arguments.revision).then_some(before)
    })
}

/// The newest spec with the arguments of another revision; `None` if these are no others.
fn with_those_of(cx: &ClusterCx<'_>, revision: u64) -> Option<ValidSpec> {
    let mut specs = cx.state.specs.iter();
    let other = specs.find(|spec| spec.revision == revision)?;
    let other = ClusterSpec::parse(&other.yaml).ok()?;
    let next = with_arguments_of(cx.spec, &other)?;
    (next != *cx.spec).then_some(next)
}

/// The newest spec with the arguments that worked; `None` if these are no others: then it is not their fault.
fn back(cx: &ClusterCx<'_>, host: &Host, ended: &ComponentReport, before: u64) -> Option<Step> {
    let next = with_those_of(cx, before)?;
    let crash = ended.crash.as_ref()?;
    let cause = crash.cause.as_ref().map_or("", |cause| cause.text.as_str());
    let mut why = format!(
        "{} on {} ended {} times: {}",
        ended.name, host.name, crash.ends, crash.how
    );
    if !cause.is_empty() {
        why = format!("{why}; {cause}");
    }
    Some(Step::Do(
        Effect::Propose(Command::ChangeArguments {
            based_on: cx.state.specs.last()?.revision,
            yaml: next.to_yaml(),
            why: why.clone(),
        }),
        why,
    ))
}

/// The host's report, if it is of the present and made with these arguments.
fn taken<'a>(cx: &ClusterCx<'a>, host: &Host, revision: u64) -> Option<&'a HostReport> {
    cx.report(host.id)
        .filter(|report| report.arguments == revision)
}

/// What is wrong with a host; `failing` is what other arguments may mend.
fn unwell(cx: &ClusterCx<'_>, host: &Host, failing: &BTreeSet<ComponentName>) -> Option<String> {
    let Some(report) = cx.report(host.id) else {
        return Some(format!("{} does not report", host.name));
    };
    let forgiven = |found: &ComponentReport| {
        let fails = failing.contains(&found.name) && has_ended_too_often(found);
        // For what fails, perhaps; etcd waits for nothing that comes by itself.
        let waits = found.state == ComponentState::Waiting && found.name != ComponentName::Etcd;
        fails || (waits && !failing.is_empty())
    };
    let mut wrong = report.components.iter().filter(|found| !is_well(found));
    let found = wrong.find(|found| !forgiven(found))?;
    Some(format!("{} of {} is not", found.name, host.name))
}

/// Components of that host that end again and again, do not serve now, and are to have other arguments.
fn failing(cx: &ClusterCx<'_>, host: &Host) -> BTreeSet<ComponentName> {
    let report = cx.report(host.id);
    let ending: BTreeSet<ComponentName> = report
        .into_iter()
        .flat_map(|report| &report.components)
        .filter(|found| !is_well(found) && has_ended_too_often(found))
        .map(|found| found.name)
        .collect();
    if ending.is_empty() {
        return ending;
    }
    let changed = changed(cx, host).unwrap_or_default();
    ending.intersection(&changed).copied().collect()
}

/// Components that have other arguments in the newest spec than on that host.
fn changed(cx: &ClusterCx<'_>, host: &Host) -> Option<BTreeSet<ComponentName>> {
    let revision = cx.state.arguments_of(host.id)?;
    let mut specs = cx.state.specs.iter();
    let own = specs.find(|spec| spec.revision == revision)?;
    let own = ClusterSpec::parse(&own.yaml).ok()?;
    let (own, newest) = (arguments(&own), arguments(cx.spec));
    let changed = own
        .into_iter()
        .zip(newest)
        .filter(|((_, own), (_, newest))| own != newest)
        .map(|((name, _), _)| name);
    Some(changed.collect())
}

fn arguments(spec: &ValidSpec) -> [(ComponentName, &BTreeMap<String, String>); 4] {
    let plane = &spec.control_plane;
    [
        (ComponentName::Etcd, &plane.etcd.extra_args),
        (ComponentName::KubeApiserver, &plane.api_server.extra_args),
        (
            ComponentName::KubeControllerManager,
            &plane.controller_manager.extra_args,
        ),
        (ComponentName::KubeScheduler, &plane.scheduler.extra_args),
    ]
}

fn is_well(component: &ComponentReport) -> bool {
    matches!(
        component.state,
        ComponentState::Ready | ComponentState::Absent
    )
}

fn is_young(component: &ComponentReport) -> bool {
    component.pid.is_some() && component.ran_ms < PROVEN_MS
}

fn ends(component: &ComponentReport) -> bool {
    component.state == ComponentState::BackOff && has_ended_too_often(component)
}

fn has_ended_too_often(component: &ComponentReport) -> bool {
    let crash = component.crash.as_ref();
    crash.is_some_and(|crash| crash.ends >= ENDS_TOO_MANY)
}
