//! Why a command failed, and how that is printed.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use crate::cli::Format;

/// What was being done, what is wrong and what to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) doing: String,
    pub(crate) wrong: String,
    pub(crate) advice: String,
    #[serde(skip)]
    pub(crate) exit: Exit,
}

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Exit {
    /// Whoever read the output has seen enough (`| head`): nothing failed.
    OutputClosed = 0,
    #[default]
    Failed = 1,
    Usage = 2,
    NotReady = 3,
}

impl Failure {
    pub(crate) fn new(
        code: &str,
        doing: impl Into<String>,
        wrong: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            code: code.into(),
            doing: doing.into(),
            wrong: wrong.into(),
            advice: advice.into(),
            exit: Exit::Failed,
        }
    }

    /// A command line that makes no sense.
    pub(crate) fn usage(wrong: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            ..Self::new(
                "KHA0900",
                "read the command line",
                wrong,
                "khactl help shows what there is",
            )
        }
    }

    /// The same, because it was not ready within the given time.
    pub(crate) fn not_ready(self) -> Self {
        Self {
            exit: Exit::NotReady,
            ..self
        }
    }

    /// Output that could not be written.
    pub(crate) fn unwritten(error: &std::io::Error) -> Self {
        Self {
            exit: match error.kind() {
                std::io::ErrorKind::BrokenPipe => Exit::OutputClosed,
                _ => Exit::Failed,
            },
            ..Self::new(
                "KHA0911",
                "print the result",
                chain(error),
                "check where the output goes",
            )
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit as u8)
    }

    /// On stderr; for programs always as JSON.
    pub(crate) fn print(&self, format: Format) {
        if self.exit == Exit::OutputClosed {
            return;
        }
        let text = match format {
            Format::Table => self.to_string(),
            Format::Json | Format::Yaml => {
                serde_json::to_string(self).unwrap_or_else(|_| self.to_string())
            }
        };
        // Nobody is left to tell when stderr is closed.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut lines = self.wrong.lines();
        let first = lines.next().unwrap_or_default();
        let rest: Vec<_> = lines.collect();
        let mut text = String::new();
        if rest.is_empty() {
            write!(text, "error: {}: {first} ({})", self.doing, self.code)?;
        } else {
            write!(text, "error: {} ({}):\n  {first}", self.doing, self.code)?;
            for line in rest {
                write!(text, "\n  {line}")?;
            }
        }
        for (at, line) in self.advice.lines().enumerate() {
            let lead = if at == 0 { "try: " } else { "     " };
            write!(text, "\n  {lead}{line}")?;
        }
        f.write_str(&text)
    }
}

/// An error with all its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
