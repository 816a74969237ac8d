//! How many members of Raft, etcd and the lease run, and what a removal would make of that.

use khactl_model::state::{EtcdStage, Role};

use super::ClusterCx;

/// A group of hosts that decides by majority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// The agents' consensus.
    Raft,
    /// The store of Kubernetes.
    Etcd,
    /// The VIP's lease.
    Lease,
}

/// The members of a group, and how many of them run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    members: usize,
    running: usize,
}

/// What a removal does to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It bears no fewer faults afterwards.
    Harmless,
    /// It bears fewer: with the numbers, for whoever must know it.
    BearsLess(String),
    /// A group would stand still: with the numbers.
    Stops(String),
}

impl Group {
    const ALL: [Self; 3] = [Self::Raft, Self::Etcd, Self::Lease];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Raft => "Raft",
            Self::Etcd => "etcd",
            Self::Lease => "the VIP's lease",
        }
    }

    fn members(self, cx: &ClusterCx<'_>) -> Vec<u64> {
        match self {
            Self::Raft => cx.raft.voters.iter().copied().collect(),
            // None where something else runs it.
            Self::Etcd => cx
                .hosts()
                .into_iter()
                .filter(|host| host.etcd.stage == EtcdStage::Voter)
                .map(|host| host.id)
                .collect(),
            Self::Lease => cx.state.lease.members.clone(),
        }
    }

    fn runs(self, cx: &ClusterCx<'_>, host_id: u64) -> bool {
        match self {
            Self::Raft => host_id == cx.leader_id || cx.report(host_id).is_some(),
            Self::Etcd => cx
                .state
                .host_by_id(host_id)
                .is_some_and(|host| cx.etcd_ready(host)),
            Self::Lease => super::lease::vip_ready(cx, host_id),
        }
    }

    pub(super) fn holds(self, cx: &ClusterCx<'_>, host_id: u64) -> bool {
        self.members(cx).contains(&host_id)
    }

    /// The group as it would be without these hosts.
    pub(super) fn without(self, cx: &ClusterCx<'_>, gone: &[u64]) -> Count {
        let left: Vec<u64> = self
            .members(cx)
            .into_iter()
            .filter(|id| !gone.contains(id))
            .collect();
        Count {
            members: left.len(),
            running: left.iter().filter(|id| self.runs(cx, **id)).count(),
        }
    }
}

impl Count {
    fn majority(self) -> usize {
        self.members / 2 + 1
    }

    pub(super) fn has_majority(self) -> bool {
        self.running >= self.majority()
    }

    /// How many of those that run may be lost.
    fn spare(self) -> usize {
        self.running.saturating_sub(self.majority())
    }

    pub(super) fn in_words(self) -> String {
        format!(
            "of {} members {} would run, and {} must",
            self.members,
            self.running,
            self.majority()
        )
    }
}

/// What the removal of that host would do, with those that are being removed already gone.
pub fn judge_removal(cx: &ClusterCx<'_>, host_id: u64) -> Verdict {
    let leaving: Vec<u64> = cx
        .hosts()
        .into_iter()
        .filter(|host| host.removal.is_some() && host.id != host_id)
        .map(|host| host.id)
        .collect();
    let with_it: Vec<u64> = leaving.iter().copied().chain([host_id]).collect();
    let serves = cx.staying().into_iter().any(|host| {
        host.id != host_id && host.role == Role::ControlPlane && cx.report(host.id).is_some()
    });
    if !serves {
        return Verdict::Stops("no control-plane host that runs would be left".to_owned());
    }
    let mut bears_less = Vec::new();
    for group in Group::ALL {
        if !group.holds(cx, host_id) {
            continue;
        }
        let (before, after) = (group.without(cx, &leaving), group.without(cx, &with_it));
        if !after.has_majority() {
            return Verdict::Stops(format!(
                "{} would stand still: {}",
                group.name(),
                after.in_words()
            ));
        }
        if after.spare() < before.spare() {
            bears_less.push(format!(
                "{} bears the loss of {} of its {} members now, and of {} of {} afterwards",
                group.name(),
                before.spare(),
                before.members,
                after.spare(),
                after.members
            ));
        }
    }
    if bears_less.is_empty() {
        Verdict::Harmless
    } else {
        Verdict::BearsLess(bears_less.join("; "))
    }
}
