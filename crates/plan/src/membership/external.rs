//! What the leader has to say of API servers that something else runs: they are no component of a host, and
//! nobody else would tell that one of them is away. Never plans a change.

use khactl_model::spec::Mode;
use khactl_model::status::Problem;
use std::collections::BTreeMap;

use super::ClusterCx;
use crate::problem;

/// The API servers that do not pass the checks of one balancer or more.
pub(super) fn problems(cx: &ClusterCx<'_>) -> Vec<Problem> {
    if cx.spec.control_plane.mode != Mode::External {
        return Vec::new();
    }
    let mut asked_by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut balancers = 0;
    for host in cx.hosts() {
        let Some(vip) = cx.report(host.id).and_then(|report| report.vip.as_ref()) else {
            continue;
        };
        balancers += 1;
        for (backend, _) in vip.backends.iter().filter(|(_, healthy)| !healthy) {
            asked_by.entry(backend).or_default().push(&host.name);
        }
    }
    let health = &cx.spec.balancer.health;
    asked_by
        .into_iter()
        .map(|(backend, hosts)| Problem {
            code: problem::BACKEND_UNHEALTHY.to_owned(),
            host: String::new(),
            text: format!(
                "the API server {} does not pass the check of {}",
                shown(cx, backend),
                if hosts.len() == balancers {
                    "any host's balancer".to_owned()
                } else {
                    format!("the balancer of {}", hosts.join(", "))
                }
            ),
            advice: format!(
                "see that it runs and answers GET {} by {} with 200, without a client's certificate",
                health.path,
                health.scheme.name()
            ),
        })
        .collect()
}

/// A listed backend is known by its address, any other by its host.
fn shown(cx: &ClusterCx<'_>, backend: &str) -> String {
    match cx.state.hosts.get(backend) {
        Some(host) => format!("of {backend} ({})", host.address),
        None => format!("at {backend}"),
    }
}
