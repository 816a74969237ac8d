//! The leader's planning of the whole cluster's membership: one change at a time.
//!
//! ```text
//! admitted -> Raft learner -> Raft voter -> etcd learner -> etcd voter -> lease member
//!             RaftAddLearner  RaftPromote   EtcdAddLearner  EtcdPromote   SetLease
//! ```
//!
//! It is level-triggered: what Raft and etcd list themselves is compared with what is recorded,
//! so that a leader which died between a change and its record leaves nothing behind. Every
//! plan holds one effect at the most. A host leaves only when somebody asked for it, in the reverse
//! order (see `removal`).

mod arguments;
mod cx;
mod etcd;
mod external;
mod lease;
mod quorum;
mod raft;
mod removal;

use khactl_model::spec::Mode;
use khactl_model::status::Problem;

use crate::component::{Plan, Status};
use crate::effect::Effect;
use crate::problem;

pub use cx::{ClusterCx, REPORT_FRESH_MS, RaftFacts};
pub use lease::{LEASE_S_MS, fence_majority};
pub use quorum::{Verdict, judge_removal};

/// What a stage of joining or leaving has to say about the cluster.
pub(crate) enum Step {
    /// Do this, then look again.
    Do(Effect, String),
    /// Nothing can be done yet.
    Wait(String, Option<u64>),
    /// Everyone has passed this stage.
    Passed,
}

/// Plans the next change of membership. Only the leader carries it out.
pub fn plan_cluster(cx: &ClusterCx<'_>) -> Plan {
    // Who leaves goes first: a dead member in etcd keeps others from joining it. The lease before
    // etcd: its change is one quick record, and an etcd learner may take long to catch up.
    let mut stages = vec![removal::step(cx), raft::step(cx), lease::step(cx)];
    if cx.spec.control_plane.mode == Mode::Managed {
        stages.push(etcd::step(cx));
        stages.push(arguments::step(cx));
    }
    let mut plan = Plan::only(Status::Ready);
    plan.problems = problems(cx);
    // A stage that waits does not hold up another one: a host that is down while it joins Raft
    // is no reason for the next host's etcd member to wait.
    for stage in stages {
        match stage {
            Step::Do(effect, why) => {
                plan.effects.push(effect);
                plan.status = Status::starting(why);
                plan.wake = None;
                return plan;
            }
            Step::Wait(why, wake) => {
                if plan.status == Status::Ready {
                    plan.status = Status::waiting(why);
                }
                plan.wake = [plan.wake, wake].into_iter().flatten().min();
            }
            Step::Passed => {}
        }
    }
    plan
}

fn problems(cx: &ClusterCx<'_>) -> Vec<Problem> {
    let mut problems = etcd::problems(cx);
    problems.extend(arguments::problems(cx));
    problems.extend(external::problems(cx));
    let hosts = cx.state.hosts.len();
    if hosts > 0 && hosts.is_multiple_of(2) {
        let loses = (hosts - 1) / 2;
        problems.push(Problem {
            code: problem::EVEN_HOSTS.to_owned(),
            host: String::new(),
            text: if hosts == 2 {
                "two hosts: if either is lost, the cluster stops; that is less safe than one \
                 host alone"
                    .to_owned()
            } else {
                format!(
                    "{hosts} hosts bear the loss of {loses}, no more than {} would",
                    hosts - 1
                )
            },
            advice: "add a host, or a witness: `khactl token create --role witness`".to_owned(),
        });
    }
    problems
}
