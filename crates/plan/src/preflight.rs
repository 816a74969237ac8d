//! What a host's facts mean for a control plane that is to run on it: a finding for each check, with its cure. Pure, and
//! one file per check. What hangs on the spec's own rules is judged by `khactl_model::spec`.

pub mod bundle;
pub mod cgroups;
pub mod clock;
pub mod disk_sync;
pub mod kernel;
pub mod leftovers;
pub mod names;
pub mod paths;
pub mod swap;
pub mod vip;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Fine,
    /// Good to know; nothing needs to be done.
    Info,
    /// It will work, and worse than it could.
    Warning,
    /// It cannot work, or would harm what runs already.
    Blocking,
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it weighs.
    pub level: Level,
    /// The check's short name.
    pub check: &'static str,
    /// `KHA…`, with a row in docs/errors.md; empty where all is fine.
    pub code: &'static str,
    /// What was found, for people.
    pub finding: String,
    /// What to do; empty where all is fine.
    pub cure: String,
}

impl Finding {
    fn fine(check: &'static str, finding: impl Into<String>) -> Self {
        Self {
            level: Level::Fine,
            check,
            code: "",
            finding: finding.into(),
            cure: String::new(),
        }
    }

    fn new(
        level: Level,
        check: &'static str,
        code: &'static str,
        finding: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        Self {
            level,
            check,
            code,
            finding: finding.into(),
            cure: cure.into(),
        }
    }
}

/// The findings as tests compare them: how much each weighs, and its code.
#[cfg(test)]
fn weighed(findings: &[Finding]) -> Vec<(Level, &'static str)> {
    for finding in findings {
        let told = !finding.code.is_empty() && !finding.cure.is_empty();
        assert_eq!(told, finding.level != Level::Fine, "{finding:?}");
        assert!(!finding.finding.is_empty(), "{finding:?}");
    }
    findings.iter().map(|f| (f.level, f.code)).collect()
}
