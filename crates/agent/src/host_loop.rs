//! The host's loop: look, plan, carry out, tell; again at every change. Level-triggered: what
//! an interruption lost is planned again. What concerns khavip is carried out by its own loop.

use khactl_model::component::ComponentName;
use khactl_model::facts::{ComponentReport, ComponentState, Facts, HostReport};
use khactl_model::status::Problem;
use khactl_pki::LeafKind;
use khactl_plan::effect::Effect;
use khactl_plan::{Cx, HostPlan, Paths, crash_of, plan_host};
use khactl_proto::v1;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::agent::Agent;
use crate::carry::Carrier;
use crate::current_spec::CurrentSpec;
use crate::node::{HostView, Node};
use crate::observe::{Looked, Observer};
use crate::prober::Prober;
use crate::takeover;
use crate::time;
use crate::vip_loop;

/// While something is not ready the host is looked at so often.
const UNSETTLED: Duration = Duration::from_millis(100);
/// A settled host is looked at so often; reports to the leader keep this pace too.
const SETTLED: Duration = Duration::from_secs(1);
/// What effects brought about is looked at after so long; what never comes to rest turns no
/// faster.
const AFTER_EFFECTS: Duration = Duration::from_millis(20);
/// A failed effect is tried again after so long.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// Logs are looked at for rotation so often.
const ROTATE_EVERY_MS: u64 = 10_000;

/// Starts the loop, and khavip's beside it.
pub fn spawn(agent: &Arc<Agent>, node: &Arc<Node>) {
    // Spreads restarts over the hosts; stays the same while this agent runs.
    let jitter = node
        .member
        .host_id
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(time::boot_ms());
    vip_loop::spawn(agent, node, paths(agent), jitter);
    let host = HostLoop {
        agent: Arc::clone(agent),
        node: Arc::clone(node),
        carrier: Carrier::new(Arc::clone(agent), Arc::clone(node)),
        observer: Observer::default(),
        prober: Prober::spawn(&agent.tasks),
        paths: paths(agent),
        spec: CurrentSpec::default(),
        jitter,
        rotated_ms: 0,
    };
    let stopping = agent.tasks.stopping();
    agent.tasks.spawn("host loop", async move {
        tokio::select! {
            () = host.run() => {}
            () = stopping => {}
        }
    });
}

fn paths(agent: &Agent) -> Paths {
    let text = |path: &std::path::Path| path.to_string_lossy().trim_end_matches('/').to_owned();
    Paths {
        data: text(&agent.config.data_dir),
        run: text(&agent.config.run_dir),
        log: text(&agent.config.log_dir),
        etc: "/etc/khactl".to_owned(),
    }
}

struct HostLoop {
    agent: Arc<Agent>,
    node: Arc<Node>,
    carrier: Carrier,
    observer: Observer,
    prober: Prober,
    paths: Paths,
    /// The spec in force, parsed once per revision.
    spec: CurrentSpec,
    jitter: u64,
    rotated_ms: u64,
}

impl HostLoop {
    async fn run(mut self) {
        let mut processes = self.agent.processes.changes();
        loop {
            processes.borrow_and_update();
            let pause = self.turn().await;
            let _ = tokio::time::timeout(pause, async {
                tokio::select! {
                    () = self.node.changed.notified() => {}
                    _ = processes.changed() => {}
                    () = self.prober.changed() => {}
                }
            })
            .await;
        }
    }

    /// One look, plan and its effects. Returns how long it may rest.
    async fn turn(&mut self) -> Duration {
        // Of what is ended then nothing is to be mended.
        if self.node.standing.removed().is_some() || self.agent.processes.is_closed() {
            self.prober.rest();
            self.publish(HostView::default());
            return SETTLED;
        }
        let state = self.node.state();
        let Some(host) = state.host_by_id(self.node.member.host_id).cloned() else {
            return UNSETTLED;
        };
        let Some(spec) = self.spec.on_host(&state, host.id) else {
            return UNSETTLED;
        };
        let looked = Looked {
            spec: &spec,
            state: &state,
            host: &host,
            paths: &self.paths,
            vip: self.node.vip_view.borrow().clone(),
        };
        let facts = self.observer.look(&self.agent, &self.prober, &looked).await;
        for (name, process) in &facts.processes {
            if facts.probes.get(name).is_some_and(|probe| probe.ready) {
                self.agent.processes.serves(*name, process.pid).await;
            }
        }
        let now_ms = time::boot_ms();
        let plan = plan_host(&Cx {
            spec: &spec,
            state: &state,
            host: &host,
            facts: &facts,
            paths: &self.paths,
            now_ms,
            wall_s: time::wall_ms() / 1000,
            jitter: self.jitter,
        });
        let mut failures = looked.vip.failures.clone();
        failures.extend(self.node.bundle_problem.borrow().clone());
        let own_failures = failures.len();
        let effects = plan.effects.iter().filter(|effect| !effect.is_khavips());
        let had_effects = effects.clone().next().is_some();
        let mut files_fail = false;
        let mut leaves_fail = false;
        for effect in effects {
            let file = matches!(
                effect,
                Effect::EnsureFolder { .. } | Effect::WriteFile { .. }
            );
            let leaf = matches!(effect, Effect::IssueCertificate { .. });
            // A file may stand for one written before it, and a leader that did not answer will
            // not answer the next one either. What is another component's goes on.
            if (file && files_fail) || (leaf && leaves_fail) {
                continue;
            }
            if let Err(problem) = self.carrier.carry(effect.clone()).await {
                tracing::warn!(code = problem.code, "{}", problem.text);
                failures.push(problem);
                files_fail |= file;
                leaves_fail |= leaf;
            }
        }
        let arguments = state.arguments_of(host.id).unwrap_or(0);
        let mut report = report(host.id, arguments, &facts, &plan, &failures);
        report.unready |= self.agent.going_down.load(Ordering::Relaxed);
        self.tell_of_agent_leaf(&mut report);
        if let Some(vip) = &mut report.vip {
            self.node.identities.complete(&mut vip.fenced_components);
        }
        let settled = plan.components.iter().all(|(_, status)| {
            matches!(
                status.state(),
                ComponentState::Ready | ComponentState::Absent
            )
        });
        let wake = plan.wake;
        let failed = own_failures < failures.len();
        self.publish(HostView {
            plan,
            report: Some(report.clone()),
            failures,
        });
        self.tell_leader(report).await;
        self.rotate_logs(now_ms).await;
        let mut pause = match (failed, had_effects, settled) {
            (true, _, _) => AFTER_FAILURE,
            (false, true, _) => AFTER_EFFECTS,
            (false, false, false) => UNSETTLED,
            (false, false, true) => SETTLED,
        };
        if let Some(wake_ms) = wake {
            pause = pause.min(Duration::from_millis(
                wake_ms.saturating_sub(time::boot_ms()),
            ));
        }
        pause
    }

    /// Logs each component's transition once, and lets whoever waits see the view.
    fn publish(&self, view: HostView) {
        let before = self.node.host_view.borrow().plan.components.clone();
        for (name, status) in &view.plan.components {
            let from = before
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, s)| s.state());
            if from != Some(status.state()) {
                tracing::info!(
                    component = name,
                    from = ?from,
                    to = ?status.state(),
                    reason = status.why(),
                    "component changed"
                );
            }
        }
        self.node.host_view.send_replace(view);
    }

    /// The agent's own leaf is no component's: it is looked after beside the plan.
    fn tell_of_agent_leaf(&self, report: &mut HostReport) {
        let leaf = self.node.leaf.borrow();
        if let Some(not_after_s) = leaf.not_after_s {
            report
                .certificates
                .insert(LeafKind::Agent.name().to_owned(), not_after_s);
        }
        report.problems.extend(leaf.problem.clone());
    }

    async fn tell_leader(&self, report: HostReport) {
        match self.node.leader_address() {
            None => {
                let now_ms = time::boot_ms();
                self.node.fences.reported(&report, now_ms);
                let unready = self.node.heard(report, now_ms);
                // While nobody leads nobody tells, and what was told last counts until it is old.
                if self.node.raft.is_leader() {
                    self.node.learn_unready(unready, now_ms);
                }
            }
            Some(leader) => {
                let Ok(json) = serde_json::to_string(&report) else {
                    return;
                };
                // What the answer tells the age of is not younger than this, however late the answer is read.
                let asked_ms = time::boot_ms();
                let told = self
                    .node
                    .peer(leader)
                    .report(time::within(
                        Duration::from_millis(500),
                        v1::ReportRequest { json },
                    ))
                    .await;
                match told {
                    Ok(answer) => {
                        let answer = answer.into_inner();
                        self.node.fences.learn(&answer.fences, asked_ms);
                        let unready = answer.unready.into_iter().collect();
                        self.node.learn_unready(unready, asked_ms);
                        self.node.standing.heard();
                    }
                    Err(error) => {
                        self.node.standing.missed(&error);
                        tracing::debug!(%error, "the leader did not take this host's report");
                    }
                }
            }
        }
    }

    async fn rotate_logs(&mut self, now_ms: u64) {
        if now_ms < self.rotated_ms + ROTATE_EVERY_MS {
            return;
        }
        self.rotated_ms = now_ms;
        if let Err(error) = khactl_host::logs::rotate(&self.agent.config.log_dir).await {
            tracing::warn!(error = %crate::refused::chain(&error), "logs were not rotated");
        }
    }
}

fn report(
    host_id: u64,
    arguments: u64,
    facts: &Facts,
    plan: &HostPlan,
    failures: &[Problem],
) -> HostReport {
    let components = plan
        .components
        .iter()
        .filter_map(|(name, status)| {
            let component = ComponentName::parse(name)?;
            let process = facts.processes.get(&component);
            Some(ComponentReport {
                name: component,
                state: status.state(),
                detail: status.why().to_owned(),
                pid: process.filter(|p| p.running).map(|p| p.pid),
                quick_exits: process.map_or(0, |p| p.quick_exits),
                ran_ms: process
                    .filter(|p| p.running)
                    .map_or(0, |p| time::boot_ms().saturating_sub(p.started_at_ms)),
                crash: crash_of(facts, component),
            })
        })
        .collect();
    let certificates: BTreeMap<_, _> = facts
        .leaves
        .iter()
        .map(|(name, leaf)| (name.clone(), leaf.not_after_s))
        .collect();
    HostReport {
        host_id,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: takeover::machine(),
        components,
        vip: facts.vip.clone(),
        problems: plan.problems.iter().chain(failures).cloned().collect(),
        certificates,
        arguments,
        unready: facts
            .probes
            .get(&ComponentName::KubeApiserver)
            .is_some_and(|probe| probe.failing),
    }
}
