//! One host's plan: every component's, in the order of their needs.
//!
//! A component whose needs are not ready starts nothing. One that already runs is left alone:
//! that the etcd member is away for a moment is no reason to stop the apiserver.

use khactl_model::component::ComponentName;
use khactl_model::status::Problem;

use crate::component::{Component, Plan, Status};
use crate::cx::Cx;
use crate::effect::Effect;
use crate::registry::components;

/// What a host has to do, and how its components are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostPlan {
    /// In the order in which they are to be carried out.
    pub effects: Vec<Effect>,
    /// Every registered component in the order of needs.
    pub components: Vec<(&'static str, Status)>,
    /// Plan again at this time at the latest, in milliseconds of CLOCK_BOOTTIME.
    pub wake: Option<u64>,
    /// What an operator should know.
    pub problems: Vec<Problem>,
}

/// Plans all that this host does for itself.
pub fn plan_host(cx: &Cx<'_>) -> HostPlan {
    plan_components(cx, components())
}

fn plan_components(cx: &Cx<'_>, components: &[&dyn Component]) -> HostPlan {
    let mut host = HostPlan {
        effects: Vec::new(),
        components: Vec::with_capacity(components.len()),
        wake: None,
        problems: Vec::new(),
    };
    let mut left: Vec<&dyn Component> = components.to_vec();
    while !left.is_empty() {
        let known = |name: &str| host.components.iter().any(|(other, _)| *other == name);
        let next = left
            .iter()
            .position(|component| component.needs().iter().all(|need| known(need)))
            // Needs in a circle: none of them will be ready, so each waits.
            .unwrap_or(0);
        let component = left.remove(next);
        let plan = component.plan(cx);
        let plan = match unmet_need(component, &host.components) {
            Some(why) => hold(cx, component.name(), plan, why),
            None => plan,
        };
        host.effects.extend(plan.effects);
        host.components.push((component.name(), plan.status));
        host.wake = [host.wake, plan.wake].into_iter().flatten().min();
        host.problems.extend(plan.problems);
    }
    host
}

/// Keeps a component from being started or restarted while something is missing.
pub(crate) fn hold(cx: &Cx<'_>, component: &str, plan: Plan, why: String) -> Plan {
    let runs = ComponentName::parse(component).is_some_and(|name| cx.runs(name));
    if runs || plan.status == Status::Absent {
        let mut plan = plan;
        // Nor is one ended that could not be started again.
        plan.effects
            .retain(|effect| !matches!(effect, Effect::EnsureProcess(_) | Effect::EndHung { .. }));
        return plan;
    }
    Plan {
        problems: plan.problems,
        ..Plan::only(Status::waiting(why))
    }
}

fn unmet_need(component: &dyn Component, planned: &[(&'static str, Status)]) -> Option<String> {
    component.needs().iter().find_map(|need| {
        let status = planned
            .iter()
            .find(|(name, _)| name == need)
            .map(|(_, s)| s);
        match status {
            Some(Status::Ready) => None,
            Some(other) if !other.why().is_empty() => {
                Some(format!("{need} is not ready: {}", other.why()))
            }
            _ => Some(format!("{need} is not ready")),
        }
    })
}
