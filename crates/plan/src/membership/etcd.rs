//! Joining etcd: a learner that copies the store, then a voter. etcd takes one learner at a
//! time, and none while a voter is away.
//!
//! A member is added in etcd first and recorded after. A leader that dies between the two, or
//! that gets no answer, finds the member by its peer URL and records it.

use khactl_model::command::{Command, SetEtcdStage};
use khactl_model::facts::EtcdMemberFact;
use khactl_model::state::{EtcdStage, Host};
use khactl_model::status::Problem;

use super::{ClusterCx, Step};
use crate::effect::Effect;
use crate::problem;

/// The next change of etcd's membership or of its record.
pub(super) fn step(cx: &ClusterCx<'_>) -> Step {
    let all = cx.hosts();
    let hosts = cx.staying();
    let Some(members) = cx.etcd_members else {
        return if hosts.iter().all(|host| host.etcd.stage == EtcdStage::Voter) {
            Step::Passed
        } else {
            Step::Wait("etcd does not tell its members".to_owned(), None)
        };
    };
    if let Some((command, what)) = hosts.iter().find_map(|host| record(host, &all, members)) {
        return Step::Do(Effect::Propose(command), what);
    }
    if let Some(learner) = hosts.iter().find(|h| h.etcd.stage == EtcdStage::Learner) {
        return promote(cx, learner, members);
    }
    let Some(next) = hosts
        .iter()
        .find(|host| host.etcd.stage == EtcdStage::Absent && cx.raft.voters.contains(&host.id))
    else {
        return match hosts
            .iter()
            .find(|host| host.etcd.stage == EtcdStage::Absent)
        {
            Some(host) => Step::Wait(format!("{} has no vote in Raft yet", host.name), None),
            None => Step::Passed,
        };
    };
    add(cx, next, &hosts, members)
}

/// etcd's id of the member that a host has, by etcd's own list.
pub(super) fn listed(cx: &ClusterCx<'_>, host: &Host) -> Result<Option<u64>, String> {
    match cx.etcd_members {
        None => Err("etcd does not tell its members".to_owned()),
        Some(members) => Ok(member_of(host, members).map(|member| member.id)),
    }
}

/// What is recorded and is not so: told by etcd's list, never by what was tried.
fn record(host: &Host, hosts: &[&Host], members: &[EtcdMemberFact]) -> Option<(Command, String)> {
    let member = member_of(host, members)?;
    let recorded = &host.etcd;
    let stage = if member.learner {
        EtcdStage::Learner
    } else {
        EtcdStage::Voter
    };
    let promoted = recorded.stage == EtcdStage::Learner && stage == EtcdStage::Voter;
    if recorded.stage == stage && recorded.member_id == member.id {
        return None;
    }
    let name = &host.name;
    let command = Command::SetEtcdStage(SetEtcdStage {
        host_name: name.clone(),
        stage,
        member_id: member.id,
        initial_cluster: if recorded.stage == EtcdStage::Absent {
            initial_cluster(hosts, members)
        } else {
            String::new()
        },
        // Who was promoted held the whole store: its data folder was in service.
        started: recorded.started || promoted,
    });
    Some((
        command,
        format!("{name}'s etcd member is recorded as {}", stage.as_str()),
    ))
}

fn promote(cx: &ClusterCx<'_>, host: &Host, members: &[EtcdMemberFact]) -> Step {
    let name = &host.name;
    let Some(member) = member_of(host, members) else {
        return Step::Wait(format!("etcd does not know {name}'s member"), None);
    };
    if !cx.etcd_runs(host) {
        return Step::Wait(format!("{name}'s etcd member is starting"), None);
    }
    Step::Do(
        Effect::EtcdPromote {
            host_name: name.clone(),
            member_id: member.id,
        },
        format!("{name}'s etcd member gets its vote as soon as it has caught up"),
    )
}

fn add(cx: &ClusterCx<'_>, host: &Host, hosts: &[&Host], members: &[EtcdMemberFact]) -> Step {
    let name = &host.name;
    if cx.report(host.id).is_none() {
        return Step::Wait(format!("{name} does not report"), None);
    }
    if members.iter().any(|member| member.learner) {
        return Step::Wait("etcd has a learner already".to_owned(), None);
    }
    // etcd itself wants every voter connected; asking before would only be refused.
    let away = hosts
        .iter()
        .find(|other| other.etcd.stage == EtcdStage::Voter && !cx.etcd_ready(other));
    if let Some(other) = away {
        let why = format!(
            "{name} joins etcd when the member of {} is ready",
            other.name
        );
        return Step::Wait(why, None);
    }
    Step::Do(
        Effect::EtcdAddLearner {
            host_name: name.clone(),
            peer_url: host.etcd_peer_url(),
        },
        format!("{name} becomes an etcd learner"),
    )
}

/// Recorded members that etcd does not know, and its members that belong to no host.
pub(super) fn problems(cx: &ClusterCx<'_>) -> Vec<Problem> {
    let Some(members) = cx.etcd_members else {
        return Vec::new();
    };
    let hosts = cx.hosts();
    let unknown = hosts
        .iter()
        .filter(|host| host.etcd.stage != EtcdStage::Absent && host.removal.is_none())
        .filter(|host| member_of(host, members).is_none())
        .map(|host| Problem {
            code: problem::ETCD_MEMBER_UNKNOWN.to_owned(),
            host: host.name.clone(),
            text: format!(
                "{} is recorded as a member of etcd, and etcd has no member at {}",
                host.name,
                host.etcd_peer_url()
            ),
            advice: format!(
                "somebody removed it by hand: `khactl remove {0}` on another host, then `khactl \
                 reset` and `khactl join` on {0}",
                host.name
            ),
        });
    let foreign = members
        .iter()
        .filter(|member| host_of(member, &hosts).is_none())
        .map(|member| Problem {
            code: problem::ETCD_MEMBER_FOREIGN.to_owned(),
            host: String::new(),
            text: format!(
                "etcd has a member {:x} at {} that belongs to no host",
                member.id,
                member.peer_urls.join(", ")
            ),
            advice: format!(
                "if nobody needs it, remove it: `etcdctl member remove {:x}`",
                member.id
            ),
        });
    unknown.chain(foreign).collect()
}

/// `name=url,…` of all members: what a new one is told at its first start.
fn initial_cluster(hosts: &[&Host], members: &[EtcdMemberFact]) -> String {
    let mut entries: Vec<String> = members
        .iter()
        .flat_map(|member| {
            // A member that was never started has no name yet.
            let name = match host_of(member, hosts) {
                Some(host) => host.name.as_str(),
                None => member.name.as_str(),
            };
            member
                .peer_urls
                .iter()
                .map(move |url| format!("{name}={url}"))
        })
        .collect();
    entries.sort();
    entries.join(",")
}

fn member_of<'a>(host: &Host, members: &'a [EtcdMemberFact]) -> Option<&'a EtcdMemberFact> {
    let url = host.etcd_peer_url();
    members
        .iter()
        .find(|member| member.peer_urls.contains(&url))
}

fn host_of<'a>(member: &EtcdMemberFact, hosts: &[&'a Host]) -> Option<&'a Host> {
    hosts
        .iter()
        .find(|host| member.peer_urls.contains(&host.etcd_peer_url()))
        .copied()
}
