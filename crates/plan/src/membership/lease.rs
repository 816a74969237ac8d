//! Joining and leaving the VIP's lease, by the rules M1 to M3 of docs/lease.md.

use khactl_model::command::Command;
use khactl_model::facts::HostReport;
use khactl_model::spec::Mode;
use khactl_model::state::{ClusterState, EtcdStage, Host};
use std::collections::BTreeMap;

use super::cx::REPORT_FRESH_MS;
use super::{ClusterCx, Step};
use crate::effect::Effect;

/// S of docs/lease.md: T_MAX * (1 + 2 * RHO) + 1 ms, with T_MAX 2,000 ms and RHO 2 %. After that long
/// no lease granted under an older epoch can still run, by any clock.
pub const LEASE_S_MS: u64 = 2_081;

/// M2: whether a majority of the present lease members report a fence at the present epoch or
/// beyond. The leader keeps since when this has held without a break, begins anew with every
/// term, and passes it on as [`ClusterCx::fence_majority_since_ms`].
pub fn fence_majority(state: &ClusterState, reports: &BTreeMap<u64, (HostReport, u64)>) -> bool {
    let lease = &state.lease;
    let fenced = lease
        .members
        .iter()
        .filter_map(|id| reports.get(id))
        .filter(|(_, age_ms)| *age_ms <= REPORT_FRESH_MS)
        .filter_map(|(report, _)| report.vip.as_ref())
        .filter(|vip| vip.fence >= lease.epoch)
        .count();
    fenced > lease.members.len() / 2
}

/// The next change of the lease's membership.
pub(super) fn step(cx: &ClusterCx<'_>) -> Step {
    let lease = &cx.state.lease;
    let hosts = cx.staying();
    let mut outside = hosts
        .into_iter()
        .filter(|host| !lease.members.contains(&host.id) && has_joined(cx, host))
        .peekable();
    let Some(first) = outside.peek().map(|host| host.name.clone()) else {
        return Step::Passed;
    };
    // M3: only a host whose khavip would answer at once.
    let Some(next) = outside.find(|host| vip_ready(cx, host.id)) else {
        let why = format!("{first} joins the lease when its khavip is past its silence");
        return Step::Wait(why, None);
    };
    // M1: one at a time.
    let mut members = lease.members.clone();
    members.push(next.id);
    change(cx, members, &format!("{} joins the lease", next.name))
}

/// The change that takes a host out. Whether it answers does not matter: a majority of the
/// others is fenced, and its own lease has run out, before the next change.
pub(super) fn leave(cx: &ClusterCx<'_>, host: &Host) -> Step {
    let mut members = cx.state.lease.members.clone();
    members.retain(|id| *id != host.id);
    change(cx, members, &format!("{} leaves the lease", host.name))
}

/// The next epoch with these members, or what it waits for.
fn change(cx: &ClusterCx<'_>, members: Vec<u64>, what: &str) -> Step {
    let lease = &cx.state.lease;
    // M2: a new leader collects afresh.
    let Some(since_ms) = cx.fence_majority_since_ms else {
        let epoch = lease.epoch;
        let why = format!("{what} when a majority has fenced epoch {epoch}");
        return Step::Wait(why, None);
    };
    let due_ms = since_ms.max(cx.leader_since_ms).saturating_add(LEASE_S_MS);
    if cx.now_ms < due_ms {
        let why = format!("{what} when older leases have run out");
        return Step::Wait(why, Some(due_ms));
    }
    Step::Do(
        Effect::Propose(Command::SetLease {
            epoch: lease.epoch + 1,
            members,
        }),
        what.to_owned(),
    )
}

/// Whether the stages before this one are passed.
fn has_joined(cx: &ClusterCx<'_>, host: &Host) -> bool {
    let external = cx.spec.control_plane.mode == Mode::External;
    cx.raft.voters.contains(&host.id) && (external || host.etcd.stage == EtcdStage::Voter)
}

/// Whether a host's khavip would answer at once.
pub(super) fn vip_ready(cx: &ClusterCx<'_>, host_id: u64) -> bool {
    cx.report(host_id)
        .and_then(|report| report.vip.as_ref())
        .is_some_and(|vip| vip.ready)
}
