//! A host's orderly way down.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use super::{LabHost, Power};
use crate::deadline;
use crate::error::{LabError, Result};
use crate::processes::Process;

impl LabHost {
    /// The orderly way down: what `khactl-shutdown.service` runs on a real host, then SIGTERM to
    /// `khad`, to `khavip` and to all others that there are still, each with `grace`; then the power goes.
    pub fn stop(&self, grace: Duration) -> Result<()> {
        if self.power() != Power::On {
            return self.kill();
        }
        if self.agent && self.programs.dir.is_some() {
            self.end_components()?;
        }
        for name in ["khad", "khavip"] {
            self.end(grace, |process| process.name == name)?;
        }
        self.end(grace, |_| true)?;
        self.kill()
    }

    /// The VIP goes to another host, then the components end in order; each program has deadlines of its own. What
    /// either could not do ends with the power.
    fn end_components(&self) -> Result<()> {
        let path = self.log_dir().join("khad.log");
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(LabError::file("open", &path))?;
        let hand_over = ["hand-over".to_owned()];
        let end = ["end-components".to_owned()];
        let with_agents = [&self.programs.agent_args[..], &end].concat();
        for (program, arguments) in [("khavip", &hand_over[..]), ("khad", &with_agents[..])] {
            let said = log.try_clone().map_err(LabError::file("open", &path))?;
            let mut command = self.exec(program)?;
            command
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::from(said));
            command.status().map_err(|source| LabError::Spawn {
                program: program.to_owned(),
                source,
            })?;
        }
        Ok(())
    }

    /// SIGTERM to the chosen processes, and the time to end. Those that do not end lose power
    /// with the rest.
    fn end(&self, grace: Duration, chosen: impl Fn(&Process) -> bool) -> Result<()> {
        let ending: Vec<_> = self.processes().into_iter().filter(chosen).collect();
        for process in &ending {
            process.signal(Signal::TERM);
        }
        let ended = || {
            Ok(ending
                .iter()
                .all(|process| !process.is_running())
                .then_some(()))
        };
        match deadline::until("processes end", grace, ended) {
            Err(LabError::Deadline { .. }) => Ok(()),
            other => other,
        }
    }
}
