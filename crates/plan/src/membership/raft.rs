//! Joining Raft: a learner that copies the log, then a voter.

use super::{ClusterCx, Step};
use crate::effect::Effect;
use khactl_model::state::Host;

/// A learner that near to the end of the log does not hold up commits once it votes.
const LAG_MAX: u64 = 8;

/// The next change of Raft's membership.
pub(super) fn step(cx: &ClusterCx<'_>) -> Step {
    if cx.raft.changing {
        return Step::Wait("Raft is changing its membership".to_owned(), None);
    }
    let mut wait = None;
    for host in cx.staying() {
        if cx.raft.voters.contains(&host.id) {
            continue;
        }
        match of_host(cx, host) {
            Ok((effect, what)) => return Step::Do(effect, what),
            Err(why) => wait = wait.or(Some(why)),
        }
    }
    wait.map_or(Step::Passed, |why| Step::Wait(why, None))
}

fn of_host(cx: &ClusterCx<'_>, host: &Host) -> Result<(Effect, String), String> {
    let name = &host.name;
    if !cx.raft.learners.contains(&host.id) {
        return Ok((
            Effect::RaftAddLearner { host_id: host.id },
            format!("{name} becomes a Raft learner"),
        ));
    }
    // A vote raises the quorum: only for a host that is there, and holds the log.
    if cx.report(host.id).is_none() {
        return Err(format!("{name} is a Raft learner and does not report"));
    }
    let matched = cx.raft.matched.get(&host.id).copied().unwrap_or(0);
    if matched.saturating_add(LAG_MAX) < cx.raft.last_log {
        return Err(format!("{name} is copying the Raft log"));
    }
    Ok((
        Effect::RaftPromote { host_id: host.id },
        format!("{name} becomes a Raft voter"),
    ))
}
