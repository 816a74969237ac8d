//! The journaled multi-step changes that this host goes through, init, join and leave, or sees to, remove. Each step
//! may be repeated; what a crash interrupts goes on where it stopped when it is run again.

pub mod init;
pub mod join;
pub mod leave;
pub mod remove;

use khactl_model::command::{Command, OperationKind, StepState};
use khactl_model::component::ComponentName;
use khactl_model::state::OperationState;
use khactl_plan::Status as ComponentStatus;
use khactl_proto::v1::{self, progress::State};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::ProgressSender;
use crate::node::Node;
use crate::refused::Refused;
use crate::time;

/// The longest that a step may wait for a component. Slow disks take a minute; whoever waits
/// longer wants to be told what hinders.
const STEP_TIMEOUT: Duration = Duration::from_mins(10);
/// How often a person hears what a step waits for.
const WAITING_EVERY: Duration = Duration::from_secs(5);
/// Between two questions to a leader who is not known yet.
const RETRY_EVERY: Duration = Duration::from_millis(50);

/// Tells people, and the journal where there is one, how far an operation is.
pub struct Journal<'a> {
    sender: &'a ProgressSender,
    actor: String,
    recorded: Option<Recorded>,
}

struct Recorded {
    node: Arc<Node>,
    operation: u64,
    /// This run writes the steps; otherwise it reads what others write.
    writes: bool,
    /// The steps that were complete when this run came to the journal.
    earlier: BTreeSet<String>,
}

impl<'a> Journal<'a> {
    /// One that only tells people, until [`Journal::record_in`].
    pub fn new(sender: &'a ProgressSender, actor: &str) -> Self {
        Self {
            sender,
            actor: actor.to_owned(),
            recorded: None,
        }
    }

    /// From now on steps go into the replicated journal, as steps of that operation.
    pub fn record_in(&mut self, node: &Arc<Node>, operation: u64) {
        self.attach(node, operation, true);
    }

    /// From now on it goes by what the replicated journal says of that operation, and writes nothing: the entries that
    /// carry it out do.
    pub fn read_in(&mut self, node: &Arc<Node>, operation: u64) {
        self.attach(node, operation, false);
    }

    fn attach(&mut self, node: &Arc<Node>, operation: u64, writes: bool) {
        let earlier = node.raft.with_machine(|machine| {
            let known = machine.state().operations.get(&operation);
            let steps = known.into_iter().flat_map(|operation| &operation.steps);
            steps
                .filter(|step| step.state == StepState::Finished)
                .map(|step| step.name.clone())
                .collect()
        });
        self.recorded = Some(Recorded {
            node: Arc::clone(node),
            operation,
            writes,
            earlier,
        });
    }

    /// A step begins.
    ///
    /// # Errors
    /// The journal does not take it.
    pub async fn begin(&self, step: &str) -> Result<(), Refused> {
        self.tell(step, State::Started, "", false).await;
        if self.finished_earlier(step) {
            return Ok(());
        }
        self.record(step, StepState::Started, "").await
    }

    /// A step is complete.
    ///
    /// # Errors
    /// The journal does not take it.
    pub async fn finish(&self, step: &str) -> Result<(), Refused> {
        let earlier = self.finished_earlier(step);
        if !earlier {
            self.record(step, StepState::Finished, "").await?;
        }
        self.tell(step, State::Finished, "", earlier).await;
        Ok(())
    }

    /// Journals steps that people were told of before there was a journal.
    ///
    /// # Errors
    /// The journal does not take them.
    pub async fn catch_up(&self, steps: &[&str]) -> Result<(), Refused> {
        for step in steps {
            if !self.finished_earlier(step) {
                self.record(step, StepState::Finished, "").await?;
            }
        }
        Ok(())
    }

    /// The operation is complete.
    ///
    /// # Errors
    /// The journal does not take it.
    pub async fn done(&self, text: &str) -> Result<(), Refused> {
        self.record("done", StepState::Done, "").await?;
        self.tell("done", State::Done, text, false).await;
        Ok(())
    }

    /// Something that a person has to know, and that stops nothing.
    pub async fn warn(&self, step: &str, text: &str) {
        self.tell(step, State::Warning, text, false).await;
    }

    /// What a step waits for.
    pub async fn waiting(&self, step: &str, text: &str) {
        self.tell(step, State::Waiting, text, false).await;
    }

    /// Whether an earlier run completed that step.
    fn finished_earlier(&self, step: &str) -> bool {
        self.recorded
            .as_ref()
            .is_some_and(|recorded| recorded.earlier.contains(step))
    }

    /// Somebody aborted the operation meanwhile.
    fn refuse_aborted(&self) -> Result<(), Refused> {
        let aborted = self.recorded.as_ref().and_then(|recorded| {
            recorded.node.raft.with_machine(|machine| {
                let operation = machine.state().operations.get(&recorded.operation)?;
                let last = operation.steps.last().map_or("", |step| &step.text);
                (operation.state == OperationState::Failed).then(|| last.to_owned())
            })
        });
        match aborted {
            None => Ok(()),
            Some(text) => Err(Refused::new(
                "KHA2086",
                "follow the operation",
                format!("it was aborted {text}"),
                "`khactl operation list` shows it; run the command again if it is to be",
            )),
        }
    }

    async fn record(&self, step: &str, state: StepState, text: &str) -> Result<(), Refused> {
        let Some(recorded) = self.recorded.as_ref().filter(|recorded| recorded.writes) else {
            return Ok(());
        };
        recorded
            .node
            .propose(
                &self.actor,
                Command::RecordStep {
                    operation: recorded.operation,
                    step: step.to_owned(),
                    state,
                    text: text.to_owned(),
                },
            )
            .await
            .map(drop)
            .map_err(|r| r.while_doing(format!("journal step {step}")))
    }

    async fn tell(&self, step: &str, state: State, text: &str, resumed: bool) {
        let line = v1::Progress {
            step: step.to_owned(),
            state: state.into(),
            text: text.to_owned(),
            resumed,
        };
        // Whoever asked may have gone; the operation goes on.
        let _ = self.sender.send(Ok(line)).await;
    }

    /// Waits, as one step, until `check` says that it is so; it says what is missing otherwise.
    ///
    /// # Errors
    /// It did not come about in time.
    pub async fn wait_until(
        &self,
        step: &str,
        node: &Node,
        check: impl Fn(&Node) -> Result<(), String>,
    ) -> Result<(), Refused> {
        self.begin(step).await?;
        self.finish_when(step, node, check).await
    }

    /// The rest of a step that has begun.
    ///
    /// # Errors
    /// It did not come about in time.
    pub async fn finish_when(
        &self,
        step: &str,
        node: &Node,
        check: impl Fn(&Node) -> Result<(), String>,
    ) -> Result<(), Refused> {
        let mut view = node.host_view.subscribe();
        let mut patience = Patience::new(step);
        while let Err(missing) = check(node) {
            self.refuse_aborted()?;
            patience.still_missing(self, &missing).await?;
            // The host loop publishes at every change; membership may change without it.
            let _ = tokio::time::timeout(Duration::from_millis(200), view.changed()).await;
        }
        self.finish(step).await
    }

    /// Waits until a component of this host is ready.
    ///
    /// # Errors
    /// It was not in time.
    pub async fn wait_for(&self, component: ComponentName, node: &Node) -> Result<(), Refused> {
        self.wait_until(component.as_str(), node, |node| {
            component_ready(node, component.as_str())
        })
        .await
    }
}

/// How long a step is waited for, and when somebody hears of it.
#[derive(Debug)]
pub struct Patience<'a> {
    step: &'a str,
    deadline: Duration,
    told: Duration,
}

impl<'a> Patience<'a> {
    /// Begins now.
    pub fn new(step: &'a str) -> Self {
        let now = khactl_sys::clock::boottime();
        Self {
            step,
            deadline: now + STEP_TIMEOUT,
            told: now,
        }
    }

    /// It has not come about yet: tells what is missing, once in a while.
    ///
    /// # Errors
    /// It did not come about in time.
    pub async fn still_missing(
        &mut self,
        journal: &Journal<'_>,
        missing: &str,
    ) -> Result<(), Refused> {
        let now = khactl_sys::clock::boottime();
        if now >= self.deadline {
            return Err(Refused::new(
                "KHA2063",
                format!("wait for {}", self.step),
                missing,
                "mend what is named, then run the command again: it goes on from here",
            )
            .late());
        }
        if now >= self.told + WAITING_EVERY {
            self.told = now;
            journal.waiting(self.step, missing).await;
        }
        Ok(())
    }
}

/// Whether a component of this host is ready, or why not.
///
/// # Errors
/// Why not.
pub fn component_ready(node: &Node, name: &str) -> Result<(), String> {
    let view = node.host_view.borrow();
    match view.plan.components.iter().find(|(n, _)| *n == name) {
        Some((_, ComponentStatus::Ready | ComponentStatus::Absent)) => Ok(()),
        Some((_, status)) => {
            let failures: Vec<_> = view.failures.iter().map(|p| p.text.clone()).collect();
            Err(if failures.is_empty() {
                status.why().to_owned()
            } else {
                format!("{}; {}", status.why(), failures.join("; "))
            })
        }
        None => Err("the agent is still planning".to_owned()),
    }
}

/// The id of this host's operation of that kind that is under way, begun anew if there is none: a host of this name may
/// have joined and left before.
///
/// # Errors
/// The journal does not take it.
pub async fn operation(node: &Node, actor: &str, kind: OperationKind) -> Result<u64, Refused> {
    let host = &node.member.host_name;
    let known = node.raft.with_machine(|machine| {
        let newest = machine.state().operation_of(kind, host);
        newest
            .filter(|(_, operation)| operation.state == OperationState::Running)
            .map(|(id, _)| id)
    });
    match known {
        Some(id) => Ok(id),
        None => {
            node.propose(
                actor,
                Command::StartOperation {
                    kind,
                    host_name: host.clone(),
                },
            )
            .await
        }
    }
}

/// A warning about a number of hosts that bears fewer faults than it seems to.
pub fn count_warning(hosts: usize) -> Option<String> {
    (hosts.is_multiple_of(2)).then(|| {
        format!(
            "{hosts} hosts bear the loss of {} only, no more than {} would: add one more host or a witness \
             (`khactl token create --role witness`)",
            (hosts - 1) / 2,
            hosts - 1
        )
    })
}

/// Waits until this host has applied what `check` looks for in the replicated state.
///
/// # Errors
/// It did not come in time.
pub async fn applied(
    node: &Node,
    doing: &str,
    within: Duration,
    check: impl Fn(&khactl_model::state::ClusterState) -> bool,
) -> Result<(), Refused> {
    let deadline = khactl_sys::clock::boottime() + within;
    let mut applied = node.raft.applied();
    loop {
        if node.raft.with_machine(|machine| check(machine.state())) {
            return Ok(());
        }
        if khactl_sys::clock::boottime() >= deadline {
            return Err(Refused::new(
                "KHA2064",
                doing,
                format!(
                    "this host's log did not get there within {} s",
                    within.as_secs()
                ),
                "see that the other hosts reach this one at port 9443, then run the command again",
            )
            .late());
        }
        let _ = tokio::time::timeout(Duration::from_millis(200), applied.changed()).await;
    }
}

/// Waits until this host has applied all that the cluster agreed on before: a host that was just started has its log,
/// and hears only from the leader how much of it counts. What an earlier run completed is known from then on.
///
/// # Errors
/// No leader answered in time.
pub async fn caught_up(node: &Node, doing: &str, within: Duration) -> Result<(), Refused> {
    let deadline = khactl_sys::clock::boottime() + within;
    loop {
        match node.barrier().await {
            Ok(()) => return Ok(()),
            Err(refused) if khactl_sys::clock::boottime() >= deadline => {
                return Err(refused.while_doing(doing));
            }
            Err(_) => time::pause(RETRY_EVERY).await,
        }
    }
}

/// The wall clock for a founding's certificates.
pub(crate) fn now_s() -> i64 {
    time::wall_ms() / 1000
}
