//! How a command ended.

use serde::Deserialize;

/// The end of one command.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was run, for messages.
    pub command: String,
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

/// What `khactl -o json` prints when it is refused.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    /// `KHA…`
    pub code: String,
    /// What was being done.
    pub doing: String,
    /// What is wrong.
    pub wrong: String,
    /// What to try.
    pub advice: String,
}

impl Outcome {
    /// Whether it ended well.
    pub fn is_ok(&self) -> bool {
        self.code == Some(0)
    }

    /// What it printed; panics if it did not end well.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.is_ok(), "{self}");
        self.stdout
    }

    /// Why it was refused; panics unless it says what, why and what to try, and exits with 1.
    #[track_caller]
    pub fn refusal(&self) -> Refusal {
        assert_eq!(self.code, Some(1), "not refused: {self}");
        let line = self.stderr.lines().last().unwrap_or_default();
        let Ok(refusal) = serde_json::from_str::<Refusal>(line) else {
            panic!("the refusal is not JSON: {self}");
        };
        for (what, text) in [
            ("doing", &refusal.doing),
            ("wrong", &refusal.wrong),
            ("advice", &refusal.advice),
        ] {
            assert!(!text.is_empty(), "the refusal does not tell {what}: {self}");
        }
        refusal
    }

    /// The refusal, which has this code; panics if it has another one.
    #[track_caller]
    pub fn refused_with(&self, code: &str) -> Refusal {
        let refusal = self.refusal();
        assert_eq!(refusal.code, code, "refused for another reason: {self}");
        refusal
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ended with {}\nstdout: {}\nstderr: {}",
            self.command,
            self.code
                .map_or_else(|| "a signal".to_owned(), |code| format!("code {code}")),
            self.stdout.trim_end(),
            self.stderr.trim_end()
        )
    }
}
