//! What the leader knows when it plans the cluster's membership.

use khactl_model::component::ComponentName;
use khactl_model::facts::{ComponentReport, ComponentState, EtcdMemberFact, HostReport};
use khactl_model::spec::ValidSpec;
use khactl_model::state::{ClusterState, Host};
use std::collections::{BTreeMap, BTreeSet};

/// A report older than that says nothing of the present. Hosts report about once a second; the
/// status calls a host silent after the same time.
pub const REPORT_FRESH_MS: u64 = 4_000;

/// Everything that the leader's plan may depend on.
#[derive(Debug, Clone, Copy)]
pub struct ClusterCx<'a> {
    /// The spec in force.
    pub spec: &'a ValidSpec,
    /// The cluster state as the leader has applied it.
    pub state: &'a ClusterState,
    /// The newest report of each host by its id, with its age in milliseconds, the leader's own
    /// included.
    pub reports: &'a BTreeMap<u64, (HostReport, u64)>,
    /// Raft's own view.
    pub raft: &'a RaftFacts,
    /// The host that plans: it leads.
    pub leader_id: u64,
    /// etcd's own list, read linearizably; `None`: it did not answer.
    pub etcd_members: Option<&'a [EtcdMemberFact]>,
    /// Since when [`crate::fence_majority`] has held without a break, as this leader saw it;
    /// `None`: it does not hold. In milliseconds of CLOCK_BOOTTIME.
    pub fence_majority_since_ms: Option<u64>,
    /// Since when it has been the present host's turn to take other arguments, as this leader saw it; `None`: it is
    /// nobody's. In milliseconds of CLOCK_BOOTTIME.
    pub turn_since_ms: Option<u64>,
    /// Since when this host has led, in milliseconds of CLOCK_BOOTTIME.
    pub leader_since_ms: u64,
    /// Milliseconds of CLOCK_BOOTTIME.
    pub now_ms: u64,
}

/// What Raft tells its leader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RaftFacts {
    /// Host ids with a vote.
    pub voters: BTreeSet<u64>,
    /// Host ids without.
    pub learners: BTreeSet<u64>,
    /// How much of the log each host is known to hold.
    pub matched: BTreeMap<u64, u64>,
    /// The newest entry's index.
    pub last_log: u64,
    /// A change of membership is under way.
    pub changing: bool,
}

impl<'a> ClusterCx<'a> {
    /// The host's report, if it is of the present.
    pub(super) fn report(&self, host_id: u64) -> Option<&'a HostReport> {
        let (report, age_ms) = self.reports.get(&host_id)?;
        (*age_ms <= REPORT_FRESH_MS).then_some(report)
    }

    /// What the host says of a component, if it is of the present.
    pub(super) fn component(
        &self,
        host_id: u64,
        name: ComponentName,
    ) -> Option<&'a ComponentReport> {
        self.report(host_id)?
            .components
            .iter()
            .find(|c| c.name == name)
    }

    /// Whether the host's etcd member serves.
    pub(super) fn etcd_ready(&self, host: &Host) -> bool {
        self.component(host.id, ComponentName::Etcd)
            .is_some_and(|etcd| etcd.state == ComponentState::Ready)
    }

    /// Whether the host's etcd member runs, ready or not.
    pub(super) fn etcd_runs(&self, host: &Host) -> bool {
        self.component(host.id, ComponentName::Etcd)
            .is_some_and(|etcd| {
                etcd.pid.is_some()
                    && matches!(etcd.state, ComponentState::Ready | ComponentState::Starting)
            })
    }

    /// Hosts that are to stay, in the order of their admission.
    pub(super) fn staying(&self) -> Vec<&'a Host> {
        let mut hosts = self.hosts();
        hosts.retain(|host| host.removal.is_none());
        hosts
    }

    /// All hosts in the order of their admission.
    pub(super) fn hosts(&self) -> Vec<&'a Host> {
        let mut hosts: Vec<&Host> = self.state.hosts.values().collect();
        hosts.sort_by_key(|host| host.id);
        hosts
    }
}
