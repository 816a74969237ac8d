//! khavip: the balancer and the VIP, on every host, also on a witness: its lease needs every
//! vote. It is told the whole desired state whenever that differs from what it works with.
//!
//! Its effects are carried out by a loop of their own, which waits for nothing else of the host: an end of
//! khavip is released and made good at once.

mod feed;

use khactl_model::component::ComponentName;
use khactl_model::status::Problem;

use crate::component::{Component, Plan, Status};
use crate::cx::Cx;
use crate::digest::feed_digest;
use crate::effect::{Effect, ProcessSpec};
use crate::host_plan::hold;
use crate::problem;
use crate::process::{self, Patience};

pub use feed::vip_feed;

/// A connection of a client of the API that hangs is noticed within ten seconds instead of
/// forty-five.
pub(crate) const HTTP2_CHECKS: [(&str, &str); 2] = [
    ("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "5"),
    ("HTTP2_PING_TIMEOUT_SECONDS", "5"),
];

/// What is to be done for khavip alone: the part of [`crate::plan_host`] that its own loop carries out.
pub fn plan_khavip(cx: &Cx<'_>) -> Plan {
    Khavip.plan(cx)
}

/// The data-side process.
#[derive(Debug)]
pub(crate) struct Khavip;

impl Component for Khavip {
    fn name(&self) -> &'static str {
        ComponentName::Khavip.as_str()
    }

    fn plan(&self, cx: &Cx<'_>) -> Plan {
        let mut plan = process::keep_with(cx, spec(cx), Patience::SHORT);
        plan.problems.extend(unusable_authorities(cx));
        let settled = cx.runs(ComponentName::Khavip) && plan.effects.is_empty();
        if !settled {
            return plan;
        }
        let Some(vip) = &cx.facts.vip else {
            plan.status = Status::starting("it does not answer at its socket");
            return plan;
        };
        let feed = vip_feed(cx);
        plan.status = if vip.fed.is_empty() {
            Status::starting("it was not told anything yet")
        } else {
            Status::Ready
        };
        if vip.fed != feed_digest(&feed) {
            plan.effects.push(Effect::FeedVip(Box::new(feed)));
        }
        plan
    }
}

/// What is wrong with the file of `balancer.health.caFile`.
fn unusable_authorities(cx: &Cx<'_>) -> Option<Problem> {
    let ca = cx
        .facts
        .health_ca
        .as_ref()
        .filter(|ca| !ca.wrong.is_empty())?;
    let without = if ca.pem.is_empty() {
        "no backend passes its check on this host"
    } else {
        "backends are judged by what was in it before"
    };
    Some(Problem {
        code: problem::HEALTH_CA_UNUSABLE.to_owned(),
        host: cx.host.name.clone(),
        text: format!("balancer.health.caFile: {}; {without}", ca.wrong),
        advice: format!(
            "put the authority of the API servers' certificates, as PEM, to {} on this host",
            cx.spec.balancer.health.ca_file
        ),
    })
}

fn spec(cx: &Cx<'_>) -> ProcessSpec {
    ProcessSpec {
        name: ComponentName::Khavip,
        program: "khavip".to_owned(),
        args: [
            "run",
            "--run-dir",
            &cx.paths.run,
            "--socket",
            &cx.paths.vip_socket(),
        ]
        .map(str::to_owned)
        .into(),
        env: Vec::new(),
        user: None,
        bundle: None,
    }
}

/// Keeps a client of the API from being started while no apiserver can answer it: it would end,
/// and be delayed the longer the more often it did.
pub(crate) fn hold_without_api(cx: &Cx<'_>, component: &str, plan: Plan) -> Plan {
    // The balancer needs some checks until it trusts a new apiserver, but tries every one when
    // it trusts none: this host's own probe is the quicker sign.
    let own = cx
        .probe(ComponentName::KubeApiserver)
        .is_some_and(|probe| probe.ready);
    let any = cx
        .facts
        .vip
        .as_ref()
        .is_some_and(|vip| vip.backends.iter().any(|(_, healthy)| *healthy));
    if own || any {
        plan
    } else {
        hold(cx, component, plan, "no apiserver is ready yet".to_owned())
    }
}
