//! What is on the disk of one process: enough to find it again and to go on counting its ends.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use khactl_model::component::ComponentName;
use khactl_model::facts::{ExitFact, ProcessFact, STABLE_MS};
use serde::{Deserialize, Serialize};

use crate::error::HostError;
use crate::files::{self, Attributes};

use super::program::ProgramFile;

/// A record holds one program's name and a few numbers.
const RECORD_BYTES_MAX: u64 = 64 * 1024;

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It called exit.
    Code(i32),
    /// A signal killed it.
    Signal(i32),
    /// It was no child of whoever saw it end.
    Unknown,
    /// It never ran.
    NotStarted(String),
    /// It ended with its host.
    HostRestarted,
    /// It was ended because it did not answer: why, and how it ended then.
    Hung(String, Box<Ending>),
}

impl From<ExitStatus> for Ending {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Unknown,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("unknown (adopted)"),
            Self::NotStarted(why) => write!(f, "could not be started: {why}"),
            Self::HostRestarted => f.write_str("unknown (the host restarted)"),
            Self::Hung(why, ending) => write!(f, "ended because {why} ({ending})"),
        }
    }
}

/// A process that was started or is about to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The component.
    pub(crate) name: ComponentName,
    /// The cluster it was started for.
    pub(crate) cluster: String,
    /// The boot that all times and ids here belong to.
    pub(crate) boot: String,
    /// This very start; the child carries it in its environment.
    pub(crate) start: String,
    /// The program.
    pub(crate) program: PathBuf,
    /// The file that this was at the start; `None` if its process ran another one already, or that is not known.
    #[serde(default)]
    pub(crate) file: Option<ProgramFile>,
    /// Digest of everything it was started with.
    pub(crate) digest: String,
    /// CLOCK_BOOTTIME in milliseconds.
    pub(crate) started_at_ms: u64,
    /// 0 until it is spawned.
    pub(crate) pid: u32,
    /// Clock ticks since boot; with the id it names the process. 0 until it is spawned.
    pub(crate) start_ticks: u64,
    /// How it ended.
    pub(crate) exit: Option<ExitFact>,
    /// How the one before it ended.
    #[serde(default)]
    pub(crate) exit_before: Option<ExitFact>,
    /// Consecutive ends soon after the start.
    pub(crate) quick_exits: u32,
}

impl Record {
    fn path(records: &Path, name: ComponentName) -> PathBuf {
        records.join(format!("{name}.json"))
    }

    /// The record of a component; `None` if there is none. One that cannot be understood is
    /// reported and taken for none: its process is found by its marker all the same.
    pub(crate) fn load(records: &Path, name: ComponentName) -> Result<Option<Self>, HostError> {
        let path = Self::path(records, name);
        let Some(text) = files::read_now(&path, RECORD_BYTES_MAX)? else {
            return Ok(None);
        };
        match serde_json::from_slice::<Self>(&text) {
            Ok(record) => Ok(Some(record)),
            Err(error) => {
                tracing::warn!(component = %name, path = %path.display(), %error, "unreadable process record");
                Ok(None)
            }
        }
    }

    /// Writes it durably.
    pub(crate) fn store(&self, records: &Path) -> Result<(), HostError> {
        let path = Self::path(records, self.name);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| HostError::write(&path)(error.into()))?;
        files::write_now(&path, &text, Attributes::mode(0o600))
    }

    /// Notes its end. An end that was asked for does not count among the quick ones.
    pub(crate) fn end(&mut self, ending: &Ending, asked_for: bool, now: Duration) {
        let at_ms = millis(now);
        let stable = at_ms.saturating_sub(self.started_at_ms) >= STABLE_MS;
        self.quick_exits = if asked_for || stable {
            0
        } else {
            self.quick_exits.saturating_add(1)
        };
        self.exit = Some(ExitFact {
            at_ms,
            how: ending.to_string(),
        });
    }

    /// As planning sees it.
    pub(crate) fn fact(&self, running: bool, now: Duration) -> ProcessFact {
        let stable = running && millis(now).saturating_sub(self.started_at_ms) >= STABLE_MS;
        ProcessFact {
            pid: self.pid,
            running,
            digest: self.digest.clone(),
            started_at_ms: self.started_at_ms,
            start_ticks: self.start_ticks,
            exit: self.exit.clone(),
            last_exit: self.exit.clone().or_else(|| self.exit_before.clone()),
            quick_exits: if stable { 0 } else { self.quick_exits },
        }
    }
}

/// Whole milliseconds of a time since boot.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            name: ComponentName::Etcd,
            cluster: "c".to_owned(),
            boot: "b".to_owned(),
            start: "s".to_owned(),
            program: "/x/etcd".into(),
            file: None,
            digest: "d".to_owned(),
            started_at_ms: 1_000,
            pid: 7,
            start_ticks: 9,
            exit: None,
            exit_before: None,
            quick_exits: 2,
        }
    }

    #[test]
    fn quick_ends_are_counted_and_a_stable_run_or_a_stop_forgets_them() {
        let mut quick = record();
        quick.end(&Ending::Code(1), false, Duration::from_secs(2));
        assert_eq!(quick.quick_exits, 3);
        assert_eq!(
            quick.exit,
            Some(ExitFact {
                at_ms: 2_000,
                how: "exit code 1".to_owned()
            })
        );

        let mut stable = record();
        stable.end(
            &Ending::Signal(9),
            false,
            Duration::from_millis(1_000 + STABLE_MS),
        );
        assert_eq!(
            (stable.quick_exits, stable.exit.unwrap().how.as_str()),
            (0, "signal 9")
        );

        let mut asked = record();
        asked.end(&Ending::Unknown, true, Duration::from_secs(2));
        assert_eq!(asked.quick_exits, 0);
    }

    #[test]
    fn a_long_run_shows_no_quick_ends() {
        let at = |ms| record().fact(true, Duration::from_millis(ms)).quick_exits;
        assert_eq!(at(2_000), 2);
        assert_eq!(at(1_000 + STABLE_MS), 0);
    }

    #[test]
    fn record_survives_the_disk_and_garbage_is_taken_for_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            Record::load(folder.path(), ComponentName::Etcd).unwrap(),
            None
        );
        record().store(folder.path()).unwrap();
        assert_eq!(
            Record::load(folder.path(), ComponentName::Etcd).unwrap(),
            Some(record())
        );
        std::fs::write(folder.path().join("etcd.json"), "{").unwrap();
        assert_eq!(
            Record::load(folder.path(), ComponentName::Etcd).unwrap(),
            None
        );
    }
}
