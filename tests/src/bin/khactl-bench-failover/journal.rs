//! All trials so far, one JSON line each, so that a run that was interrupted goes on where it was.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::contender::Contender;
use crate::fault::Fault;
use crate::trial::Trial;

/// What names a trial.
pub(crate) type Key = (Contender, Fault, usize);

/// The file and what it holds.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    trials: Vec<Trial>,
}

impl Journal {
    /// Reads what is there. With `fresh` it is forgotten first.
    pub(crate) fn open(path: &Path, fresh: bool) -> anyhow::Result<Self> {
        let shown = path.display();
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        if fresh
            && let Err(error) = fs::remove_file(path)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(error).with_context(|| format!("cannot remove {shown}"));
        }
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {shown}")),
        };
        if !text.is_empty() && !text.ends_with('\n') {
            // A line that a kill cut off is measured again, on a line of its own.
            append(path, "\n")?;
        }
        let trials = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        Ok(Self {
            path: path.to_owned(),
            trials,
        })
    }

    /// Adds one.
    pub(crate) fn add(&mut self, trial: Trial) -> anyhow::Result<()> {
        let mut line = serde_json::to_string(&trial).context("a trial has no JSON form")?;
        line.push('\n');
        append(&self.path, &line)?;
        self.trials.push(trial);
        Ok(())
    }

    /// Which are there.
    pub(crate) fn keys(&self) -> BTreeSet<Key> {
        self.trials
            .iter()
            .map(|trial| (trial.contender, trial.fault, trial.round))
            .collect()
    }

    pub(crate) fn trials(&self) -> &[Trial] {
        &self.trials
    }
}

fn append(path: &Path, text: &str) -> anyhow::Result<()> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::Watched;

    #[test]
    fn what_was_measured_is_there_again_and_a_broken_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/trials.jsonl");
        let trial = Trial {
            contender: Contender::KhactlFast,
            fault: Fault::HostLost,
            round: 3,
            before: Watched::default(),
            during: Watched {
                outage_ms: 57.5,
                ..Watched::default()
            },
            after: Watched::default(),
        };
        let mut journal = Journal::open(&path, false).unwrap();
        journal.add(trial.clone()).unwrap();
        fs::write(
            &path,
            fs::read_to_string(&path).unwrap() + "{\"contender\":\"kha",
        )
        .unwrap();
        Journal::open(&path, false)
            .unwrap()
            .add(trial.clone())
            .unwrap();
        let again = Journal::open(&path, false).unwrap();
        assert_eq!(again.trials(), [trial.clone(), trial]);
        assert!(
            again
                .keys()
                .contains(&(Contender::KhactlFast, Fault::HostLost, 3))
        );
        assert!(Journal::open(&path, true).unwrap().trials().is_empty());
    }
}
