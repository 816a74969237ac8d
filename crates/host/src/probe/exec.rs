//! A probe that is a program: it runs once, in a group of its own that ends with it.

use std::fmt;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, sink};
use tokio::process::Command;

use crate::users;

/// What a program says when it fails is repeated in one line.
const SAID_BYTES_MAX: u64 = 4 * 1024;

/// A program to ask with.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// Its path and its arguments.
    pub(super) command: Vec<String>,
    /// As whom it runs.
    pub(super) user: Option<String>,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.command.first().map_or("the program", String::as_str))
    }
}

/// Kills a process group when it is let go of.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Gone already: nothing to kill.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Program {
    /// Runs it to its end. Dropping the future kills it.
    pub(super) async fn run(&self) -> Result<(), String> {
        let [program, args @ ..] = &self.command[..] else {
            return Err("there is no program to ask with".to_owned());
        };
        let failed = |error: &dyn fmt::Display| format!("running {program}: {error}");
        let mut command = Command::new(program);
        command
            .args(args)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(name) = &self.user {
            let user = users::lookup(name).await.map_err(|error| failed(&error))?;
            let user = user.ok_or_else(|| failed(&format!("there is no user {name}")))?;
            command.uid(user.uid).gid(user.gid);
        }
        let mut child = command.spawn().map_err(|error| failed(&error))?;
        // Nobody has waited for the child, so its number is its group's for as long as this guard is armed.
        let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
        let mut said = Vec::new();
        if let Some(mut stderr) = child.stderr.take() {
            // What else it says is read too: a full pipe would hold it up. An error is the end of what it says.
            let _ = (&mut stderr)
                .take(SAID_BYTES_MAX)
                .read_to_end(&mut said)
                .await;
            let _ = tokio::io::copy(&mut stderr, &mut sink()).await;
        }
        let status = child.wait().await.map_err(|error| failed(&error))?;
        group.0 = None;
        if status.success() {
            return Ok(());
        }
        Err(format!("{program}: {status}: {}", super::reason(&said)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Probe, Readiness};
    use khactl_sys::process_stat::ProcessStat;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Probe {
        let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        Probe::exec(command, None)
    }

    #[tokio::test]
    async fn a_program_that_exits_with_0_is_ready_and_another_says_why_not() {
        assert!(shell("exit 0").run(PATIENCE).await.is_ready());
        let Readiness::NotReady { reason } =
            shell("echo no quorum >&2; exit 3").run(PATIENCE).await
        else {
            panic!("exit code 3 is not ready");
        };
        assert!(
            reason.contains('3') && reason.contains("no quorum"),
            "{reason}"
        );
        let missing = Probe::exec(vec!["/no/such/program".to_owned()], None);
        assert!(!missing.run(PATIENCE).await.is_ready());
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let probe = shell(&format!("sleep 600 & echo $! > {}; wait", path.display()));
        let answer = probe.run(Duration::from_millis(500)).await;
        let Readiness::NotReady { reason } = answer else {
            panic!("it hangs");
        };
        assert!(reason.contains("/bin/sh did not answer"), "{reason}");
        let pid: u32 = std::fs::read_to_string(path)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let deadline = khactl_sys::clock::monotonic() + PATIENCE;
        while ProcessStat::of(pid).is_some_and(|stat| stat.is_alive()) {
            assert!(khactl_sys::clock::monotonic() < deadline, "it lives on");
            tokio::task::yield_now().await;
        }
    }
}
