//! What a component is to planning, and what it plans.
//!
//! ```text
//! Absent            this host has no use for it
//! Waiting --------> Starting -----> Ready
//!   ^  its needs       |  ^           |
//!   |                  v  |           |
//!   +--------------- BackOff <--------+   its process ended
//! ```

use khactl_model::facts::ComponentState;
use khactl_model::status::Problem;

use crate::cx::Cx;
use crate::effect::Effect;

/// Something that a host brings about and keeps: one file, one word in the registry.
pub trait Component: Sync {
    /// Its name, by which others need it.
    fn name(&self) -> &'static str;

    /// The components that must be ready before this one is started. One that runs is not
    /// stopped because a need is no longer ready.
    fn needs(&self) -> &'static [&'static str] {
        &[]
    }

    /// What is to be done now. The same [`Cx`] gives the same plan.
    fn plan(&self, cx: &Cx<'_>) -> Plan;
}

/// What a component, or the leader's membership planning, wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they are to be carried out; empty when all is as it should be.
    pub effects: Vec<Effect>,
    /// How it is now, before the effects.
    pub status: Status,
    /// Plan again at this time at the latest, in milliseconds of CLOCK_BOOTTIME.
    pub wake: Option<u64>,
    /// What an operator should know.
    pub problems: Vec<Problem>,
}

/// How a component is, and why it is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It serves.
    Ready,
    /// It is on its way and does not serve yet, or no longer.
    Starting {
        /// For people.
        why: String,
    },
    /// What it needs is not there yet.
    Waiting {
        /// For people.
        why: String,
    },
    /// Its process ended and is started again later.
    BackOff {
        /// Milliseconds of CLOCK_BOOTTIME.
        until_ms: u64,
        /// For people.
        why: String,
    },
    /// This host does not run it.
    Absent,
}

impl Status {
    /// The same for reports.
    pub fn state(&self) -> ComponentState {
        match self {
            Self::Ready => ComponentState::Ready,
            Self::Starting { .. } => ComponentState::Starting,
            Self::Waiting { .. } => ComponentState::Waiting,
            Self::BackOff { .. } => ComponentState::BackOff,
            Self::Absent => ComponentState::Absent,
        }
    }

    /// Why it is not ready; empty if it is, or if it is absent.
    pub fn why(&self) -> &str {
        match self {
            Self::Starting { why } | Self::Waiting { why } | Self::BackOff { why, .. } => why,
            Self::Ready | Self::Absent => "",
        }
    }

    pub(crate) fn starting(why: impl Into<String>) -> Self {
        Self::Starting { why: why.into() }
    }

    pub(crate) fn waiting(why: impl Into<String>) -> Self {
        Self::Waiting { why: why.into() }
    }
}

impl Plan {
    /// Nothing to do but to say how it is.
    pub(crate) fn only(status: Status) -> Self {
        Self {
            effects: Vec::new(),
            status,
            wake: None,
            problems: Vec::new(),
        }
    }

    /// One thing to do.
    pub(crate) fn with(status: Status, effect: Effect) -> Self {
        Self {
            effects: vec![effect],
            ..Self::only(status)
        }
    }
}
