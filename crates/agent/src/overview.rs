//! Puts the cluster's status together: a pure function of the replicated state, Raft's view
//! and the hosts' reports.

mod vip;

use khactl_model::facts::{ComponentState, HostReport};
use khactl_model::state::{ClusterState, EtcdStage, Host, OperationState, Role};
use khactl_model::status::{
    CertificateStatus, ClusterStatus, ComponentStatus, EtcdStatus, HostStatus, OperationStatus,
    Problem, VipStatus,
};
use std::collections::{BTreeMap, BTreeSet};

/// A host that has not reported for so long is silent. Reports come about once a second.
pub const SILENT_MS: u64 = 4_000;

/// Raft as one host sees it.
#[derive(Debug, Clone, Default)]
pub struct RaftView {
    /// The leader's id.
    pub leader: Option<u64>,
    /// The term.
    pub term: u64,
    /// Ids with a vote.
    pub voters: BTreeSet<u64>,
    /// Ids without one.
    pub learners: BTreeSet<u64>,
    /// This host leads and a quorum has answered lately.
    pub leading: bool,
}

/// Everything the overview is made of.
#[derive(Debug)]
pub struct View<'a> {
    /// The replicated state.
    pub state: &'a ClusterState,
    /// Raft.
    pub raft: &'a RaftView,
    /// Reports with their age in milliseconds; only this host's own where it does not lead.
    pub reports: &'a BTreeMap<u64, (HostReport, u64)>,
    /// The VIP's addresses as in the spec, and the balancer's port.
    pub vip: (Vec<String>, u16),
    /// The lease time in the spec.
    pub lease_ms: u32,
    /// Which host this is.
    pub seen_by: &'a str,
    /// What the leader's next change of membership waits for; empty if none is due.
    pub waiting: String,
    /// What the leader's plan found wrong.
    pub problems: Vec<Problem>,
}

/// The status.
pub fn overview(view: &View<'_>) -> ClusterStatus {
    let state = view.state;
    let cluster = state.cluster.as_ref();
    let name_of = |id: u64| state.host_by_id(id).map(|h| h.name.clone());
    let mut problems = view.problems.clone();
    let mut hosts = Vec::new();
    let mut components = Vec::new();
    let mut certificates = Vec::new();
    for host in state.hosts.values() {
        let report = view.reports.get(&host.id);
        let fresh = report.filter(|(_, age)| *age < SILENT_MS).map(|(r, _)| r);
        let status = host_status(view, host, fresh);
        if status.state == "silent" && view.raft.leading {
            problems.push(Problem {
                code: "KHA3001".into(),
                host: host.name.clone(),
                text: "its agent does not report".into(),
                advice: format!(
                    "see whether {} is up and whether it reaches the leader at port 9443; \
                     `systemctl status khad` there",
                    host.address
                ),
            });
        }
        hosts.push(status);
        let Some(report) = fresh else { continue };
        for component in &report.components {
            if component.state == ComponentState::Absent {
                continue;
            }
            components.push(ComponentStatus {
                host: host.name.clone(),
                name: component.name.as_str().to_owned(),
                state: component.state,
                detail: component.detail.clone(),
                pid: component.pid,
                crash: component.crash.clone(),
            });
        }
        for (name, not_after_s) in &report.certificates {
            certificates.push(CertificateStatus {
                host: host.name.clone(),
                name: name.clone(),
                not_after_s: *not_after_s,
            });
        }
        problems.extend(report.problems.iter().cloned());
        problems.extend(vip::problems(view, host, report));
        if let Some(vip) = &report.vip {
            problems.extend(vip.problems.iter().map(|text| Problem {
                code: "KHA3002".into(),
                host: host.name.clone(),
                text: text.clone(),
                advice: "see `khactl logs khavip`".into(),
            }));
        }
    }
    if view.raft.leader.is_none() {
        problems.push(Problem {
            code: "KHA3003".into(),
            host: String::new(),
            text: "the agents have no leader: changes wait, what runs goes on".into(),
            advice: "a majority of the hosts must be up and reach each other at port 9443".into(),
        });
    }
    ClusterStatus {
        cluster: cluster.map(|c| c.name.clone()).unwrap_or_default(),
        cluster_id: cluster.map(|c| c.id.clone()).unwrap_or_default(),
        revision: state.specs.last().map_or(0, |s| s.revision),
        leader: view.raft.leader.and_then(name_of),
        term: view.raft.term,
        vip: VipStatus {
            addresses: view.vip.0.clone(),
            port: view.vip.1,
            holder: holder(view).and_then(name_of),
            epoch: state.lease.epoch,
            fencing: vip::fencing(view),
            lease_ms: view.lease_ms,
            bears: vip::bears(view),
        },
        hosts,
        components,
        etcd: state
            .hosts
            .values()
            .filter(|h| h.etcd.stage != EtcdStage::Absent)
            .map(|h| EtcdStatus {
                host: h.name.clone(),
                member_id: format!("{:x}", h.etcd.member_id),
                stage: h.etcd.stage.as_str().to_owned(),
            })
            .collect(),
        certificates,
        operations: operations(state),
        waiting: view.waiting.clone(),
        problems,
        seen_by: view.seen_by.to_owned(),
    }
}

/// The host that says of itself that it holds; else the one most others believe in.
fn holder(view: &View<'_>) -> Option<u64> {
    let fresh = || {
        view.reports
            .values()
            .filter(|(_, age)| *age < SILENT_MS)
            .filter_map(|(r, _)| r.vip.as_ref().map(|v| (r.host_id, v)))
    };
    fresh()
        .find(|(_, vip)| vip.holding)
        .map(|(id, _)| id)
        .or_else(|| fresh().find_map(|(_, vip)| vip.holder))
}

fn host_status(view: &View<'_>, host: &Host, report: Option<&HostReport>) -> HostStatus {
    let raft = if view.raft.voters.contains(&host.id) {
        "voter"
    } else if view.raft.learners.contains(&host.id) {
        "learner"
    } else {
        "absent"
    };
    let in_lease = view.state.lease.members.contains(&host.id);
    let votes_in_etcd = host.etcd.stage == EtcdStage::Voter || !view.state.runs_etcd();
    let joined = raft == "voter" && votes_in_etcd && in_lease;
    let serves = report.is_some_and(|r| {
        r.components
            .iter()
            .all(|c| matches!(c.state, ComponentState::Ready | ComponentState::Absent))
    });
    let state = match (report, joined, serves) {
        _ if host.removal.is_some() => "leaving",
        (None, _, _) if !view.raft.leading => "unknown",
        (None, _, _) => "silent",
        (Some(_), false, _) => "joining",
        (Some(_), true, true) => "ready",
        (Some(_), true, false) => "degraded",
    };
    HostStatus {
        name: host.name.clone(),
        address: host.address.to_string(),
        role: match host.role {
            Role::ControlPlane => "control-plane",
            Role::Witness => "witness",
        }
        .to_owned(),
        state: state.to_owned(),
        raft: raft.to_owned(),
        etcd: host.etcd.stage.as_str().to_owned(),
        lease: in_lease,
        vip: report
            .and_then(|r| r.vip.as_ref())
            .map(vip::standing)
            .unwrap_or_default(),
        version: report.map(|r| r.version.clone()).unwrap_or_default(),
    }
}

fn operations(state: &ClusterState) -> Vec<OperationStatus> {
    state
        .operations
        .iter()
        .rev()
        .take(10)
        .map(|(id, operation)| OperationStatus {
            id: *id,
            kind: operation.kind.as_str().to_owned(),
            host: operation.host_name.clone(),
            state: match operation.state {
                OperationState::Running => "running",
                OperationState::Done => "done",
                OperationState::Failed => "failed",
            }
            .to_owned(),
            step: operation
                .steps
                .last()
                .map(|s| s.name.clone())
                .unwrap_or_default(),
            started_at_ms: operation.started_at_ms,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use khactl_model::command::{Command, CreateCluster, Entry};
    use khactl_model::component::ComponentName;
    use khactl_model::facts::{ComponentReport, VipFact};

    fn state() -> ClusterState {
        let mut state = ClusterState::default();
        state
            .apply(&Entry {
                actor: "root@cp1".into(),
                at_ms: 0,
                command: Command::CreateCluster(CreateCluster {
                    id: "00".into(),
                    name: "prod".into(),
                    spec_yaml: String::new(),
                    host_name: "cp1".into(),
                    address: "10.77.0.11".parse().unwrap(),
                    key_pin: String::new(),
                    authorities: Vec::new(),
                    secrets: Vec::new(),
                }),
            })
            .unwrap();
        state
    }

    fn report(state: ComponentState, holding: bool) -> HostReport {
        HostReport {
            host_id: 1,
            version: "0.1.0".into(),
            machine: String::new(),
            components: vec![ComponentReport {
                name: ComponentName::Etcd,
                state,
                detail: String::new(),
                pid: Some(7),
                quick_exits: 0,
                ran_ms: 0,
                crash: None,
            }],
            vip: Some(VipFact {
                holder: Some(1),
                holding,
                epoch: 1,
                fence: 1,
                ready: true,
                realtime: true,
                locked: true,
                ..VipFact::default()
            }),
            problems: Vec::new(),
            certificates: BTreeMap::new(),
            arguments: 0,
            unready: false,
        }
    }

    fn seen(report: HostReport, age_ms: u64, leading: bool) -> ClusterStatus {
        let state = state();
        let raft = RaftView {
            leader: leading.then_some(1),
            term: 3,
            voters: BTreeSet::from([1]),
            learners: BTreeSet::new(),
            leading,
        };
        overview(&View {
            state: &state,
            raft: &raft,
            reports: &BTreeMap::from([(1, (report, age_ms))]),
            vip: (vec!["10.77.0.100/24".into()], 6443),
            lease_ms: 250,
            seen_by: "cp1",
            waiting: String::new(),
            problems: Vec::new(),
        })
    }

    #[test]
    fn a_host_whose_components_serve_is_ready_and_the_holder_is_who_says_so() {
        let status = seen(report(ComponentState::Ready, true), 100, true);
        assert_eq!(status.hosts[0].state, "ready");
        assert_eq!(status.vip.holder.as_deref(), Some("cp1"));
        assert_eq!(status.leader.as_deref(), Some("cp1"));
        assert_eq!(status.problems, []);
        assert_eq!(status.components.len(), 1);
    }

    #[test]
    fn a_host_with_a_component_that_does_not_serve_is_degraded() {
        let status = seen(report(ComponentState::BackOff, true), 100, true);
        assert_eq!(status.hosts[0].state, "degraded");
    }

    #[test]
    fn a_host_that_does_not_report_is_silent_to_the_leader_and_unknown_to_others() {
        let status = seen(report(ComponentState::Ready, true), SILENT_MS, true);
        assert_eq!(status.hosts[0].state, "silent");
        assert_eq!(status.problems[0].code, "KHA3001");
        let status = seen(report(ComponentState::Ready, true), SILENT_MS, false);
        assert_eq!(status.hosts[0].state, "unknown");
        assert_eq!(status.problems[0].code, "KHA3003");
    }
}
