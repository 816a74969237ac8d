//! The host itself: its kernel, its clock, its disk, its names, and what others have left on it. Facts are gathered here
//! and judged by the plan.

use khactl_host::network;
use khactl_host::preflight::{self as gather, Seen};
use khactl_model::spec::{ClusterSpec, ValidSpec};
use khactl_plan::preflight::{cgroups, clock, disk_sync, kernel, leftovers, names, swap};
use khactl_proto::v1::{Finding, finding::Level};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use super::judged;
use crate::agent::Agent;
use crate::refused::chain;

/// What can be seen at once.
pub(super) async fn seen(agent: &Agent, spec: Option<&ValidSpec>) -> Vec<Finding> {
    let Seen {
        kernel: release,
        cgroups: groups,
        swap: areas,
        clock: keeping,
        leftovers: left,
    } = gather::look(PathBuf::from("/")).await;
    let in_force = in_force(agent);
    let spec = spec.or(in_force.as_ref());
    let vips: Vec<IpAddr> = spec
        .into_iter()
        .flat_map(|spec| &spec.vip.addresses)
        .map(|vip| vip.address())
        .collect();
    let declared = leftovers::Declared {
        mode: spec.map(|spec| spec.control_plane.mode),
        vips: &vips,
    };
    let mut found = vec![
        kernel::judge(&release),
        cgroups::judge(&groups),
        swap::judge(&areas),
    ];
    found.extend(clock::judge(&keeping));
    found.extend(leftovers::judge(&left, declared));
    found.into_iter().map(judged).collect()
}

/// What must be measured, or waited for.
pub(super) async fn measured(agent: &Agent, spec: Option<&ValidSpec>) -> Vec<Finding> {
    let others = others(agent, spec);
    let (disk, told) = tokio::join!(disk(agent), gather::names(&agent.config.host_name, &others));
    let own: BTreeSet<IpAddr> = network::interfaces()
        .unwrap_or_default()
        .into_iter()
        .flat_map(|interface| interface.addresses)
        .map(|(address, _)| address)
        .collect();
    let names = names::judge(&told, &own).into_iter().map(judged);
    std::iter::once(disk).chain(names).collect()
}

async fn disk(agent: &Agent) -> Finding {
    match gather::disk_sync(&agent.config.data_dir).await {
        Ok(facts) => judged(disk_sync::judge(&facts)),
        Err(error) => Finding {
            level: Level::Warning.into(),
            check: "fsync".into(),
            finding: format!(
                "how quick the disk is could not be measured: {}",
                chain(&error)
            ),
            cure: "see that the data folder can be written, then try again".into(),
            code: "KHA1119".into(),
        },
    }
}

/// The spec that this host's cluster goes by, if it is a member.
fn in_force(agent: &Agent) -> Option<ValidSpec> {
    let state = agent.node()?.state();
    ClusterSpec::parse(state.spec_yaml()?).ok()
}

/// The names of the other hosts, as far as anybody has told them.
fn others(agent: &Agent, spec: Option<&ValidSpec>) -> Vec<String> {
    let mut others = BTreeSet::new();
    if let Some(spec) = spec {
        others.extend(spec.vip.preference.iter().cloned());
        others.extend(spec.balancer.weights.keys().cloned());
    }
    if let Some(node) = agent.node() {
        others.extend(node.state().hosts.into_keys());
    }
    others.remove(&agent.config.host_name);
    others.into_iter().collect()
}
