//! The journal: operations and their steps.

use serde::{Deserialize, Serialize};

use crate::command::{OperationKind, StepState};

/// A journaled multi-step change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// What it does.
    pub kind: OperationKind,
    /// The host it is about.
    pub host_name: String,
    /// Who began it.
    pub actor: String,
    /// When it began, in milliseconds since the Unix epoch.
    pub started_at_ms: i64,
    /// Its steps in the order in which they began.
    pub steps: Vec<Step>,
    /// How it stands.
    pub state: OperationState,
}

/// A step of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its stable name.
    pub name: String,
    /// How far it is.
    pub state: StepState,
    /// A detail for people.
    pub text: String,
    /// When it began, in milliseconds since the Unix epoch.
    pub started_at_ms: i64,
    /// When it last changed.
    pub changed_at_ms: i64,
}

/// How an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationState {
    /// Under way, or interrupted and waiting to be run again.
    Running,
    /// Complete.
    Done,
    /// Given up.
    Failed,
}

impl Operation {
    /// Whether that step is complete.
    pub fn finished(&self, step: &str) -> bool {
        self.steps
            .iter()
            .any(|s| s.name == step && matches!(s.state, StepState::Finished | StepState::Done))
    }

    /// Whether that step has begun at least.
    pub(super) fn step_began(&self, step: &str) -> bool {
        self.steps.iter().any(|s| s.name == step)
    }

    pub(super) fn record(&mut self, step: &str, state: StepState, text: &str, at_ms: i64) {
        match self.steps.iter_mut().find(|s| s.name == step) {
            Some(known) => {
                known.state = state;
                text.clone_into(&mut known.text);
                known.changed_at_ms = at_ms;
            }
            None => self.steps.push(Step {
                name: step.to_owned(),
                state,
                text: text.to_owned(),
                started_at_ms: at_ms,
                changed_at_ms: at_ms,
            }),
        }
        // What is complete or given up stays so, whatever an earlier step's record comes late with.
        if self.state != OperationState::Running {
            return;
        }
        self.state = match state {
            StepState::Done => OperationState::Done,
            StepState::Failed => OperationState::Failed,
            StepState::Started | StepState::Finished => OperationState::Running,
        };
    }
}
