//! Why the agent refused or failed a call: what was being done, what is wrong, what to try.

use khactl_proto::v1;
use std::fmt;
use tonic::{Code, Status};

use crate::net;

/// A refusal on its way to whoever asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// How gRPC classes it.
    pub kind: Code,
    /// `KHA…`
    pub code: String,
    /// What was being done.
    pub doing: String,
    /// What is wrong; several problems on several lines.
    pub wrong: String,
    /// What to try.
    pub advice: String,
}

impl Refused {
    /// Something about this host or cluster does not allow it.
    pub fn new(
        code: &str,
        doing: impl Into<String>,
        wrong: impl fmt::Display,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            kind: Code::FailedPrecondition,
            code: code.to_owned(),
            doing: doing.into(),
            wrong: wrong.to_string(),
            advice: advice.into(),
        }
    }

    /// Something did not come about in time.
    #[must_use]
    pub fn late(mut self) -> Self {
        self.kind = Code::DeadlineExceeded;
        self
    }

    /// The same refusal of something larger.
    #[must_use]
    pub fn while_doing(mut self, doing: impl Into<String>) -> Self {
        self.doing = doing.into();
        self
    }

    /// A call to another agent that failed. What that agent refused is passed on as it is.
    pub fn of_call(doing: &str, status: &Status) -> Self {
        match net::refusal(status) {
            Some(r) => Self {
                kind: status.code(),
                code: r.code,
                doing: r.doing,
                wrong: r.wrong,
                advice: r.advice,
            },
            None => Self {
                kind: status.code(),
                code: "KHA3010".into(),
                doing: doing.to_owned(),
                wrong: status.message().to_owned(),
                advice: "see whether the other host is up and reachable at port 9443".into(),
            },
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} ({}); try: {}",
            self.doing, self.wrong, self.code, self.advice
        )
    }
}

impl std::error::Error for Refused {}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        net::status(
            refused.kind,
            &v1::Refusal {
                code: refused.code,
                doing: refused.doing,
                wrong: refused.wrong,
                advice: refused.advice,
            },
        )
    }
}

/// An error with all its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
