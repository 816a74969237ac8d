//! Whether somebody answers at the VIP already. It is asked only where nobody should: before there is a cluster.

use futures::future::join_all;
use khactl_host::network;
use khactl_host::preflight::{Tried, path};
use khactl_model::spec::ValidSpec;
use khactl_plan::preflight::vip::judge;
use khactl_proto::v1::Finding;

use super::judged;
use crate::agent::Agent;

/// A host that is to join has a cluster that holds it, and one that has the address itself is told so by the spec's check.
pub(super) async fn findings(agent: &Agent, spec: Option<&ValidSpec>, joins: bool) -> Vec<Finding> {
    let Some(spec) = spec.filter(|_| !joins && agent.node().is_none()) else {
        return Vec::new();
    };
    let interfaces = network::interfaces().unwrap_or_default();
    let tried = spec
        .vip
        .addresses
        .iter()
        .map(|vip| vip.address())
        .filter(|vip| network::interface_of(&interfaces, *vip).is_none())
        .map(|address| Tried {
            from: agent.config.host_name.clone(),
            to: "the VIP".to_owned(),
            address,
            ports: vec![spec.balancer.port],
            datagrams: None,
        });
    let facts = join_all(tried.map(path)).await;
    judge(&facts).into_iter().map(judged).collect()
}
