//! The Lease of this host's own kube-controller-manager or kube-scheduler, cleared when its process has ended.
//!
//! ```text
//! running ── pidfd, or its end on record ──▶ dead ── read, judge, clear ──▶ seen to
//!    │ read now and then: whose identity was there before the next start        │
//!    ◀────────────────────────── the next one was started ──────────────────────┘
//! ```

use khactl_host::leader_lease::Cleared;
use khactl_model::component::ComponentName;
use khactl_model::facts::ProcessFact;
use khactl_model::spec::{Mode, ValidSpec};
use khactl_plan::takeover::{OwnEnd, Refusal, Verdict, judge_own};
use std::sync::Arc;
use std::time::Duration;

use super::machine;
use super::watched_lease::WatchedLease;
use crate::agent::Agent;
use crate::current_spec::CurrentSpec;
use crate::node::Node;
use crate::time;

/// So often the Lease is looked at while the process lives.
const LEARN_EVERY: Duration = Duration::from_secs(5);
/// The same while the process' identity is not known: until it is, nobody may clear its Lease when its host is lost.
const LEARN_SOON: Duration = Duration::from_secs(1);
/// After an API server that did not answer.
const AGAIN: Duration = Duration::from_millis(100);
/// Later than this it has nearly run out.
const GIVE_UP_MS: u64 = 10_000;

/// A process: its id and when it was started.
type Key = (u32, u64);

/// Starts the task of one component.
pub(super) fn spawn(agent: &Arc<Agent>, node: &Arc<Node>, component: ComponentName) {
    let mut own = Own {
        agent: Arc::clone(agent),
        node: Arc::clone(node),
        component,
        machine: machine(),
        spec: CurrentSpec::default(),
        lease: WatchedLease::of(component),
        living: None,
        identified: None,
        done: None,
    };
    // Before anything else starts the next one: what ended while there was no khad is still on record.
    let ended_before = own.dead();
    let stopping = agent.tasks.stopping();
    let name = match component {
        ComponentName::KubeControllerManager => "own controller-manager's Lease",
        _ => "own scheduler's Lease",
    };
    agent.tasks.spawn(name, async move {
        tokio::select! {
            () = own.run(ended_before) => {}
            () = stopping => {}
        }
    });
}

struct Own {
    agent: Arc<Agent>,
    node: Arc<Node>,
    component: ComponentName,
    machine: String,
    /// The spec in force, parsed once per revision.
    spec: CurrentSpec,
    lease: WatchedLease,
    /// The process that runs.
    living: Option<Key>,
    /// The process whose identity has been seen.
    identified: Option<Key>,
    /// The dead one that was seen to last.
    done: Option<Key>,
}

impl Own {
    async fn run(mut self, ended_before: Option<Key>) {
        if let Some(dead) = ended_before {
            self.release(dead).await;
        }
        let mut changes = self.agent.processes.changes();
        loop {
            changes.borrow_and_update();
            if let Some(dead) = self.dead() {
                self.release(dead).await;
                continue;
            }
            let pause = if self.identified.is_some() && self.identified == self.living {
                LEARN_EVERY
            } else {
                LEARN_SOON
            };
            let dead = tokio::select! {
                dead = self.end() => Some(dead),
                _ = changes.changed() => None,
                () = time::pause(pause) => {
                    self.learn().await;
                    None
                }
            };
            if let Some(dead) = dead {
                self.release(dead).await;
            }
        }
    }

    fn process(&self) -> Option<ProcessFact> {
        self.agent.processes.facts().remove(&self.component)
    }

    /// A process that has ended and was not seen to yet; keeps which one runs.
    fn dead(&mut self) -> Option<Key> {
        let process = self.process()?;
        let key = key(&process);
        if process.running && self.done != Some(key) {
            let before = self.living.replace(key);
            return before.filter(|before| *before != key && self.done != Some(*before));
        }
        self.living = None;
        (process.exit.is_some() && self.done != Some(key)).then_some(key)
    }

    /// Waits for the end of the process that runs: its pidfd tells before its end is on record. For ever if none does.
    async fn end(&self) -> Key {
        let running = self.process().filter(|process| process.running);
        let watched = running.and_then(|process| {
            let (pid, descriptor) = self.agent.processes.descriptor(self.component)?;
            let key = key(&process);
            (pid == process.pid && self.done != Some(key)).then_some((key, descriptor))
        });
        let Some((key, descriptor)) = watched else {
            return std::future::pending().await;
        };
        match khactl_sys::readable::readable(descriptor) {
            Ok(readable) => {
                // An error would be the runtime's end, in which this task ends as well.
                let _ = readable.readable().await;
                key
            }
            // Its end will be on record.
            Err(_) => std::future::pending().await,
        }
    }

    /// So that a holder is known from before the next process was started, and as which one this process leads.
    async fn learn(&mut self) {
        let Some(living) = self.living else { return };
        let Some(spec) = self.spec() else { return };
        let read = match self.lease.look(&self.node, spec.balancer.port).await {
            Ok(Some(read)) => read,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(component = %self.component, error, "the Lease was not read");
                return;
            }
        };
        if read.lease.holder_host() != Some(self.machine.as_str()) {
            return;
        }
        // After the answer: it still runs, hence no process that was started after it can have been seen.
        let process = self.process();
        if let Some(process) = process.filter(|found| found.running && key(found) == living) {
            let identities = &self.node.identities;
            identities.seen(self.component, &process, &read.lease.holder);
            self.identified = Some(living);
        }
    }

    /// The caller has the proof of death.
    async fn release(&mut self, dead: Key) {
        self.done = Some(dead);
        self.living = None;
        let component = self.component;
        let give_up_ms = time::boot_ms() + GIVE_UP_MS;
        loop {
            let attempt = match self.spec() {
                Some(spec) => self.attempt(&spec, dead).await,
                // Right after khad's start it may not have come yet.
                None => Err("this host's spec is not known".to_owned()),
            };
            match attempt {
                Ok(Outcome::Cleared(holder)) => {
                    tracing::info!(%component, pid = dead.0, holder, "its Lease was cleared: its process has ended");
                    return;
                }
                Ok(Outcome::Left(refusal @ (Refusal::Free | Refusal::HeldByAnother { .. }))) => {
                    tracing::debug!(%component, pid = dead.0, reason = %refusal, "its Lease is not the ended process'");
                    return;
                }
                Ok(Outcome::Left(refusal)) => {
                    tracing::info!(%component, pid = dead.0, reason = %refusal, "its Lease was left to run out");
                    return;
                }
                Ok(Outcome::Changed) => {}
                Err(error) if time::boot_ms() >= give_up_ms => {
                    tracing::info!(%component, pid = dead.0, error, "its Lease was left to run out");
                    return;
                }
                Err(error) => {
                    tracing::debug!(%component, error, "its Lease was not cleared yet");
                    time::pause(AGAIN).await;
                }
            }
        }
    }

    async fn attempt(&mut self, spec: &ValidSpec, dead: Key) -> Result<Outcome, String> {
        let read = self.lease.look(&self.node, spec.balancer.port).await?;
        // After the look: whatever took the Lease before it is seen here, or has ended too. One that is being started may
        // run already; it is asked for first, since it becomes one that runs.
        let starting = self.agent.processes.starting(self.component);
        let next = self
            .process()
            .filter(|process| process.running && key(process) != dead);
        let state = self.node.state();
        let Some(host) = state.host_by_id(self.node.member.host_id) else {
            return Err("this host is not in the cluster's state".to_owned());
        };
        let verdict = judge_own(&OwnEnd {
            spec,
            component: self.component,
            state: &state,
            host,
            told: &self.node.fences.armed(),
            machine: &self.machine,
            sightings: self.lease.sightings(),
            next_started_ms: starting.or(next.map(|process| process.started_at_ms)),
        });
        let judged = match verdict {
            Verdict::Clear { resource_version } => resource_version,
            Verdict::Wait(refusal) => return Err(refusal.to_string()),
            Verdict::Leave(refusal) => return Ok(Outcome::Left(refusal)),
        };
        let Some(read) = read else {
            return Ok(Outcome::Changed);
        };
        match self.lease.clear(&read, &judged).await? {
            Cleared::Done => Ok(Outcome::Cleared(read.lease.holder)),
            Cleared::Conflict => Ok(Outcome::Changed),
        }
    }

    /// The spec as this host goes by it, while it runs such components.
    fn spec(&mut self) -> Option<Arc<ValidSpec>> {
        if self.node.standing.removed().is_some() {
            return None;
        }
        let state = self.node.state();
        self.spec
            .on_host(&state, self.node.member.host_id)
            .filter(|spec| spec.control_plane.mode == Mode::Managed)
    }
}

/// How an attempt ended.
enum Outcome {
    /// Of this holder.
    Cleared(String),
    /// It is not to be cleared.
    Left(Refusal),
    /// Somebody wrote to it meanwhile.
    Changed,
}

fn key(process: &ProcessFact) -> Key {
    (process.pid, process.started_at_ms)
}
