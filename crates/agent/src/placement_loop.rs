//! The leader's care for where the VIP is: looks at the hosts' reports and has the holder hand it over where another
//! host should have it. On the other hosts it rests.

use khactl_plan::{Move, PlacementCx, Steadiness, place};
use std::sync::Arc;
use std::time::Duration;

use crate::agent::Agent;
use crate::current_spec::CurrentSpec;
use crate::node::Node;
use crate::time;
use crate::transfer;

/// Reports come once a second and at every change.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Starts the loop.
pub fn spawn(agent: &Arc<Agent>, node: &Arc<Node>) {
    let placement = PlacementLoop {
        node: Arc::clone(node),
        spec: CurrentSpec::default(),
        steadiness: Steadiness::default(),
        term: None,
    };
    let stopping = agent.tasks.stopping();
    agent.tasks.spawn("placement loop", async move {
        tokio::select! {
            () = placement.run() => {}
            () = stopping => {}
        }
    });
}

struct PlacementLoop {
    node: Arc<Node>,
    /// The spec in force, parsed once per revision.
    spec: CurrentSpec,
    steadiness: Steadiness,
    /// The term in which all of it was seen.
    term: Option<u64>,
}

impl PlacementLoop {
    async fn run(mut self) {
        loop {
            time::pause(LOOK_EVERY).await;
            let Some(wanted) = self.look() else { continue };
            self.carry_out(&wanted).await;
        }
    }

    fn look(&mut self) -> Option<Move> {
        let (term, leads) = {
            let status = self.node.raft.status();
            let status = status.borrow();
            (status.term, status.is_leader)
        };
        if !leads || self.term != Some(term) {
            self.steadiness = Steadiness::default();
            self.term = leads.then_some(term);
        }
        if !leads {
            return None;
        }
        let now_ms = time::boot_ms();
        let reports = self.node.reports().aged(now_ms);
        let node = Arc::clone(&self.node);
        node.raft.with_machine(|machine| {
            let state = machine.state();
            let spec = self.spec.of(state)?;
            self.steadiness.observe(state, &reports, now_ms);
            place(&PlacementCx {
                spec: &spec,
                state,
                reports: &reports,
                steadiness: &self.steadiness,
                now_ms,
            })
        })
    }

    async fn carry_out(&mut self, wanted: &Move) {
        let state = self.node.state();
        let Some(holder) = state.host_by_id(wanted.from) else {
            return;
        };
        // Also where it fails: it is not asked for again at once.
        self.steadiness.moved(time::boot_ms());
        match transfer::hand_over(&self.node, holder, wanted.to).await {
            Ok(()) => tracing::info!(
                from = wanted.from,
                to = wanted.to,
                reason = wanted.why,
                "the VIP is handed over"
            ),
            Err(refused) => tracing::warn!(%refused, "the VIP was not handed over"),
        }
    }
}
