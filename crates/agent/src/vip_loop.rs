//! khavip's loop: starts it, tells it what to work with, and gives up what a dead one held. It waits for nothing else
//! of the host, neither for a disk that a component's start waits for nor for the leader, because the VIP does not
//! come back before.
//!
//! ```text
//!          started                fed                    ended (pidfd)
//! absent ──────────▶ starting ──────────▶ works ──────────────────────▶ dead
//!    ▲                                                                   │ khavip release (K2 to K5)
//!    └───────────────────── and only then (K6) ──────────────────────────┘
//! ```

use khactl_model::component::ComponentName;
use khactl_model::facts::{Facts, HealthCaFact, ProcessFact, VipFact, VipMeasured};
use khactl_model::state::ClusterState;
use khactl_model::status::Problem;
use khactl_plan::effect::{Effect, VipFeed};
use khactl_plan::{Cx, Paths, feed_digest, plan_khavip, vip_feed};
use prost::Message;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use zeroize::Zeroizing;

use crate::agent::Agent;
use crate::carry::{Carrier, beside_khad, problem};
use crate::current_spec::CurrentSpec;
use crate::founding::LEASE_KEY;
use crate::health_ca::HealthCa;
use crate::issue;
use crate::node::Node;
use crate::refused::{Refused, chain};
use crate::spare_sockets::SpareSockets;
use crate::time;
use crate::vip_client::{VipClient, request};
use crate::vip_release::release_dead;

/// While khavip does not work with what it should.
const UNSETTLED: Duration = Duration::from_millis(100);
/// While it does.
const SETTLED: Duration = Duration::from_secs(1);
/// What effects brought about is looked at after so long.
const AFTER_EFFECTS: Duration = Duration::from_millis(10);
/// A failed effect is tried again after so long.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// What this loop last saw.
#[derive(Debug, Clone, Default)]
pub struct VipView {
    /// khavip's own status; `None`: it does not answer.
    pub fact: Option<VipFact>,
    /// The authorities that backends are judged by, where the spec names a file of them.
    pub health_ca: Option<HealthCaFact>,
    /// What went wrong in carrying effects out.
    pub failures: Vec<Problem>,
}

/// A process that ended: its id and when it was started.
type Dead = (u32, u64);

/// Starts the loop.
pub fn spawn(agent: &Arc<Agent>, node: &Arc<Node>, paths: Paths, jitter: u64) {
    let vip = VipLoop {
        agent: Arc::clone(agent),
        node: Arc::clone(node),
        carrier: Carrier::new(Arc::clone(agent), Arc::clone(node)),
        client: VipClient::new(&agent.config.vip_socket()),
        paths: Arc::new(paths),
        spec: CurrentSpec::default(),
        jitter,
        health_ca: HealthCa::default(),
        last_will: None,
        spare: SpareSockets::default(),
        released: None,
        resumed: false,
    };
    let stopping = agent.tasks.stopping();
    agent.tasks.spawn("khavip loop", async move {
        tokio::select! {
            () = vip.run() => {}
            () = stopping => {}
        }
    });
}

struct VipLoop {
    agent: Arc<Agent>,
    node: Arc<Node>,
    carrier: Carrier,
    client: VipClient,
    paths: Arc<Paths>,
    /// The spec in force, parsed once per revision.
    spec: CurrentSpec,
    jitter: u64,
    health_ca: HealthCa,
    /// With what a dead khavip is released, ready to be sent: an encoded feed and the plan's digest of the same. Made
    /// from this host's own copy of the state, so that an agent which has just started can do it too.
    last_will: Option<(String, Zeroizing<Vec<u8>>)>,
    /// Of the khavip that runs.
    spare: SpareSockets,
    /// Which dead khavip was released last.
    released: Option<Dead>,
    /// What khavip knew when this khad began has been taken over.
    resumed: bool,
}

impl VipLoop {
    async fn run(mut self) {
        let mut processes = self.agent.processes.changes();
        loop {
            processes.borrow_and_update();
            let pause = self.turn().await;
            let dead = tokio::select! {
                dead = self.end_of_khavip() => Some(dead),
                _ = processes.changed() => None,
                () = self.node.vip_changed.notified() => None,
                () = time::pause(pause) => None,
            };
            if let Some(dead) = dead {
                self.release(dead, "its pidfd tells").await;
            }
        }
    }

    /// Waits for the end of the khavip that runs now; for ever if none does, or if that one was released already and
    /// its end is still being written down.
    async fn end_of_khavip(&self) -> Dead {
        let process = self.agent.processes.facts().remove(&ComponentName::Khavip);
        let running = process
            .filter(|process| process.running)
            .and_then(|process| {
                let (pid, descriptor) = self.agent.processes.descriptor(ComponentName::Khavip)?;
                let known = (pid, process.started_at_ms);
                let fresh = process.pid == pid && self.released != Some(known);
                fresh.then_some((known, descriptor))
            });
        let Some((dead, descriptor)) = running else {
            return std::future::pending().await;
        };
        match khactl_sys::readable::readable(descriptor) {
            Ok(readable) => {
                // An error would be the runtime's end, in which this task ends as well.
                let _ = readable.readable().await;
                dead
            }
            Err(error) => {
                tracing::warn!(%error, "khavip's end will be noticed late");
                std::future::pending().await
            }
        }
    }

    /// One look, plan and its effects. Returns how long it may rest.
    async fn turn(&mut self) -> Duration {
        if self.node.standing.removed().is_some() {
            return SETTLED;
        }
        // Before the state is copied: an epoch older than the confirmed read must not pass for confirmed (A8).
        let confirmed = self.node.confirmed.load(Ordering::Acquire);
        let state = self.node.state();
        let Some(host) = state.host_by_id(self.node.member.host_id).cloned() else {
            return UNSETTLED;
        };
        let Some(spec) = self.spec.of(&state) else {
            return UNSETTLED;
        };
        let processes = self.agent.processes.facts();
        let process = processes.get(&ComponentName::Khavip).cloned();
        let runs = process.as_ref().is_some_and(|process| process.running);
        let fact = if runs {
            self.client.status().await
        } else {
            None
        };
        if let Some(fact) = &fact {
            self.resume(&state, fact);
        }
        let facts = Facts {
            processes,
            vip: fact.clone(),
            health_ca: self.health_ca.look(&spec),
            confirmed,
            unready: self.node.unready.hosts(time::boot_ms()),
            ..Facts::default()
        };
        let paths = Arc::clone(&self.paths);
        let cx = Cx {
            spec: &spec,
            state: &state,
            host: &host,
            facts: &facts,
            paths: &paths,
            now_ms: time::boot_ms(),
            wall_s: time::wall_ms() / 1000,
            jitter: self.jitter,
        };
        self.prepare_last_will(&state, &vip_feed(&cx));
        self.follow_sockets().await;
        // K6: before the next one is started, which is planned below.
        if let Some(dead) = process.as_ref().and_then(ended) {
            self.release(dead, "its end is on record").await;
        }
        // This host goes down: khavip goes on with what it was told until it is ended, and no other follows it.
        if self.agent.processes.is_closed() {
            return SETTLED;
        }
        let plan = plan_khavip(&cx);
        let mut failures = Vec::new();
        let had_effects = !plan.effects.is_empty();
        for effect in plan.effects {
            let outcome = match effect {
                Effect::FeedVip(feed) => self
                    .feed(&state, &feed)
                    .await
                    .map_err(|refused| problem(&host.name, &refused)),
                effect => self.carrier.carry(effect).await,
            };
            if let Err(problem) = outcome {
                tracing::warn!(code = problem.code, "{}", problem.text);
                failures.push(problem);
            }
        }
        let failed = !failures.is_empty();
        let settled = fact.as_ref().is_some_and(|fact| !fact.fed.is_empty());
        self.publish(VipView {
            fact,
            health_ca: facts.health_ca.clone(),
            failures,
        });
        let pause = match (failed, had_effects, settled) {
            (true, _, _) => AFTER_FAILURE,
            (false, true, _) => AFTER_EFFECTS,
            (false, false, false) => UNSETTLED,
            (false, false, true) => SETTLED,
        };
        match plan.wake {
            Some(wake_ms) => pause.min(Duration::from_millis(
                wake_ms.saturating_sub(time::boot_ms()),
            )),
            None => pause,
        }
    }

    /// Once: whom khavip keeps new connections from, a khad that was started anew does not give back to it before it has heard
    /// from the leader itself.
    fn resume(&mut self, state: &ClusterState, fact: &VipFact) {
        if std::mem::replace(&mut self.resumed, true) {
            return;
        }
        let hosts = state.hosts.values();
        let drained = hosts.filter(|host| fact.draining.contains(&host.name));
        let ids = drained.map(|host| host.id).collect();
        self.node.unready.learn(ids, time::boot_ms());
    }

    async fn feed(&mut self, state: &ClusterState, feed: &VipFeed) -> Result<(), Refused> {
        let key = issue::secret(state, &self.node.sealing, LEASE_KEY)?;
        self.client.feed(feed, &key).await.map_err(|error| {
            Refused::new(
                "KHA3060",
                "feed khavip",
                chain(&error),
                "see `khactl logs khavip`",
            )
        })
    }

    /// Without the lease's key there is nothing to release with: then the lease of a dead khavip runs out.
    fn prepare_last_will(&mut self, state: &ClusterState, feed: &VipFeed) {
        let digest = feed_digest(feed);
        if self
            .last_will
            .as_ref()
            .is_some_and(|(known, _)| *known == digest)
        {
            return;
        }
        let encoded = issue::secret(state, &self.node.sealing, LEASE_KEY)
            .ok()
            .and_then(|key| request(feed, &key).ok())
            .map(|request| Zeroizing::new(request.encode_to_vec()));
        if let Some(encoded) = encoded {
            self.last_will = Some((digest, encoded));
        }
    }

    /// So that the end of a killed khavip is not seen late.
    async fn follow_sockets(&mut self) {
        let Some((pid, pidfd)) = self.agent.processes.descriptor(ComponentName::Khavip) else {
            return;
        };
        if self.released.is_some_and(|(released, _)| released == pid) {
            return;
        }
        let mut spare = std::mem::take(&mut self.spare);
        let followed = tokio::task::spawn_blocking(move || {
            spare.follow(pid, pidfd);
            spare
        });
        self.spare = followed.await.unwrap_or_default();
    }

    /// Once for each dead process. The caller has the proof of death (K1).
    async fn release(&mut self, dead: Dead, proof: &'static str) {
        if self.released == Some(dead) {
            return;
        }
        self.released = Some(dead);
        let spare = std::mem::take(&mut self.spare);
        let pid = dead.0;
        if let Some((_, feed)) = &self.last_will {
            let khavip = beside_khad("khavip");
            match release_dead(&khavip, &self.agent.config.run_dir, feed).await {
                Ok(()) => tracing::info!(pid, proof, "khavip ended; what it held was given up"),
                Err(error) => {
                    tracing::warn!(pid, proof, %error, "what a dead khavip held was not given up");
                }
            }
        }
        // Closing them takes its time, for which the next khavip need not wait.
        drop(tokio::task::spawn_blocking(move || drop(spare)));
    }

    /// Wakes the host's loop, which reports, at news; what is measured all the time is none.
    fn publish(&self, view: VipView) {
        let mut news = false;
        self.node.vip_view.send_modify(|known| {
            news = lasting(known.fact.as_ref()) != lasting(view.fact.as_ref())
                || known.health_ca != view.health_ca
                || known.failures != view.failures;
            *known = view;
        });
        if news {
            self.node.changed.notify_one();
        }
    }
}

fn lasting(fact: Option<&VipFact>) -> Option<VipFact> {
    fact.map(|fact| VipFact {
        measured: VipMeasured::default(),
        reason: String::new(),
        ..fact.clone()
    })
}

/// The registry has waited for the process' end, or has found none alive that carries its marks.
fn ended(process: &ProcessFact) -> Option<Dead> {
    (!process.running && process.exit.is_some()).then_some((process.pid, process.started_at_ms))
}
