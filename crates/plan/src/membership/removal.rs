//! Leaving, in the reverse order of joining: leadership, VIP, lease, control plane, etcd, Raft, the host's record.
//!
//! ```text
//! removal asked for -> leadership handed over -> VIP handed over -> out of the lease -> its API server ended
//!                      RaftTransfer              (placement)        SetLease            (its own plan)
//!       -> irrevocable -> out of etcd -> out of Raft -> no host
//!          RecordStep     EtcdRemove     RaftRemove     FinishRemoval
//! ```
//!
//! Up to the record of the point of no return the removal may be aborted: that is refused by the same log in which
//! the point is recorded, before anything is done that cannot be taken back.
//!
//! Whether the host lives makes no difference. No step is taken that would leave one of the three
//! groups without a majority of members that run.

use khactl_model::command::{Command, SetEtcdStage, StepState};
use khactl_model::component::ComponentName;
use khactl_model::state::{EtcdStage, Host, IRREVOCABLE, Role};

use super::quorum::Group;
use super::{ClusterCx, Step, etcd, lease};
use crate::effect::Effect;

/// The next step of the oldest removal.
pub(super) fn step(cx: &ClusterCx<'_>) -> Step {
    let Some(host) = cx.hosts().into_iter().find(|host| host.removal.is_some()) else {
        return Step::Passed;
    };
    if cx.leader_id == host.id {
        return hand_leadership_over(cx, host);
    }
    if cx.state.lease.members.contains(&host.id) {
        if hands_vip_over(cx, host) {
            return Step::Wait(format!("{} hands the VIP over", host.name), None);
        }
        return unless_lost(cx, host, Group::Lease, lease::leave);
    }
    if host.etcd.stage != EtcdStage::Absent && serves_api(cx, host) {
        return Step::Wait(format!("{} ends its kube-apiserver", host.name), None);
    }
    if let Some(step) = pass_the_point_of_no_return(cx, host) {
        return step;
    }
    if host.etcd.stage != EtcdStage::Absent {
        return leave_etcd(cx, host);
    }
    if cx.raft.changing {
        return Step::Wait("Raft is changing its membership".to_owned(), None);
    }
    if cx.raft.voters.contains(&host.id) || cx.raft.learners.contains(&host.id) {
        return unless_lost(cx, host, Group::Raft, |_, host| {
            let effect = Effect::RaftRemove { host_id: host.id };
            Step::Do(effect, format!("{} leaves Raft", host.name))
        });
    }
    Step::Do(
        Effect::Propose(Command::FinishRemoval { host_id: host.id }),
        format!("{} is a host no more", host.name),
    )
}

/// The holder gives it up first, where another host can take it.
fn hands_vip_over(cx: &ClusterCx<'_>, host: &Host) -> bool {
    let vip = |id: u64| cx.report(id).and_then(|report| report.vip.as_ref());
    let able = |other: &&Host| {
        other.id != host.id
            && other.role == Role::ControlPlane
            && cx.state.lease.members.contains(&other.id)
            && vip(other.id).is_some_and(|vip| vip.fit && vip.ready)
    };
    vip(host.id).is_some_and(|vip| vip.holding) && cx.staying().iter().any(able)
}

/// Whoever has a connection to it would write to a member that is being taken out.
fn serves_api(cx: &ClusterCx<'_>, host: &Host) -> bool {
    cx.component(host.id, ComponentName::KubeApiserver)
        .is_some_and(|apiserver| apiserver.pid.is_some())
}

/// `None` once it is passed.
fn pass_the_point_of_no_return(cx: &ClusterCx<'_>, host: &Host) -> Option<Step> {
    let removal = host.removal.as_ref()?;
    if !cx.state.is_revocable(removal) {
        return None;
    }
    let record = Command::RecordStep {
        operation: removal.operation,
        step: IRREVOCABLE.to_owned(),
        state: StepState::Finished,
        text: String::new(),
    };
    let why = format!("from here on {} can only leave", host.name);
    Some(unless_lost(cx, host, Group::Raft, |_, _| {
        Step::Do(Effect::Propose(record), why)
    }))
}

/// etcd's own list tells whether it is so; the record follows it.
fn leave_etcd(cx: &ClusterCx<'_>, host: &Host) -> Step {
    let name = &host.name;
    match etcd::listed(cx, host) {
        Err(why) => Step::Wait(why, None),
        Ok(Some(member_id)) => unless_lost(cx, host, Group::Etcd, |_, host| {
            let effect = Effect::EtcdRemove {
                host_name: host.name.clone(),
                member_id,
            };
            Step::Do(effect, format!("{name} leaves etcd"))
        }),
        Ok(None) => Step::Do(
            Effect::Propose(Command::SetEtcdStage(SetEtcdStage {
                host_name: name.clone(),
                stage: EtcdStage::Absent,
                member_id: 0,
                initial_cluster: String::new(),
                started: false,
            })),
            format!("{name} is recorded as gone from etcd"),
        ),
    }
}

/// A leader that took itself out would leave nobody to finish what it began.
fn hand_leadership_over(cx: &ClusterCx<'_>, host: &Host) -> Step {
    let successor = cx
        .hosts()
        .into_iter()
        .filter(|other| other.removal.is_none() && cx.raft.voters.contains(&other.id))
        .filter(|other| cx.report(other.id).is_some())
        .max_by_key(|other| cx.raft.matched.get(&other.id).copied().unwrap_or(0));
    match successor {
        Some(successor) => Step::Do(
            Effect::RaftTransfer {
                host_id: successor.id,
            },
            format!("{} hands leadership over to {}", host.name, successor.name),
        ),
        None => Step::Wait(
            format!("{} leads, and no other voter reports", host.name),
            None,
        ),
    }
}

fn unless_lost(
    cx: &ClusterCx<'_>,
    host: &Host,
    group: Group,
    step: impl FnOnce(&ClusterCx<'_>, &Host) -> Step,
) -> Step {
    let after = group.without(cx, &[host.id]);
    if group.holds(cx, host.id) && !after.has_majority() {
        let why = format!(
            "{} cannot leave {}: {}",
            host.name,
            group.name(),
            after.in_words()
        );
        return Step::Wait(why, None);
    }
    step(cx, host)
}
