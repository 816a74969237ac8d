//! A host's first process: pid 1 of its namespaces, whose life is the host's power.
//!
//! It lays the mounts (`boot.sh`) and reaps orphans. The kernel ends every other process of the
//! host with it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use khactl_sys::detach::detach;
use rustix::process::Signal;

use crate::cgroup::HostCgroup;
use crate::deadline;
use crate::error::{LabError, Result};
use crate::layout::HostLayout;
use crate::processes::{Process, all_in, identity, namespace};
use crate::programs::Programs;

/// The mounts and the first process of a host.
const BOOT: &str = include_str!("boot.sh");

/// What the first process waits for.
const IDLE: &str = "lab-idle";

/// For SIGSTOP and SIGCONT to take effect; milliseconds, unless the machine is swapping.
const SETTLE: Duration = Duration::from_secs(10);

/// A running host's first process.
#[derive(Debug)]
pub(crate) struct FirstProcess {
    process: Process,
}

impl FirstProcess {
    /// The first process of a host that is on.
    pub(crate) fn find(host: &HostLayout, state_dir: &Path) -> Result<Self> {
        let off = || LabError::HostOff {
            host: host.name.clone(),
        };
        let text = fs::read_to_string(pid_file(host, state_dir)).map_err(|_| off())?;
        let pid: u32 = text.trim().parse().map_err(|_| off())?;
        // A number from before a crash may be another process by now.
        let netns = identity(&host.netns_file()).ok_or_else(off)?;
        if namespace(pid, "net") == Some(netns) {
            Ok(Self::of(pid))
        } else {
            Err(off())
        }
    }

    /// Starts it in the host's network namespace and in new ones of all other kinds; the mounts
    /// are laid when this returns.
    pub(crate) fn start(host: &HostLayout, state_dir: &Path, programs: &Programs) -> Result<Self> {
        let cgroup = HostCgroup::create(&host.netns).map(|cgroup| cgroup.procs_file());
        let path_of = |path: &Option<PathBuf>| path.clone().unwrap_or_default();
        let spawn_error = |source| LabError::Spawn {
            program: "sh".to_owned(),
            source,
        };
        let enter = r#"[ -z "$1" ] || echo 0 >"$1"; shift; exec setsid --fork nsenter "$@" 2>&1"#;
        let mut boot = Command::new("sh");
        boot.args(["-c", enter, "sh"])
            .arg(cgroup.unwrap_or_default())
            .arg(format!("--net={}", host.netns_file().display()))
            .args(["--", "unshare", "--mount", "--uts", "--pid", "--fork"])
            .args(["--propagation", "private", "--"])
            .args(["bash", "-c", BOOT, "lab-init", &host.name])
            .arg(&host.disk)
            .args([path_of(&programs.dir), path_of(&programs.bundle)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        // A host may outlive whoever boots it: what that one has open, a lock or a pipe, is not its.
        detach(&mut boot, None);
        let mut boot = boot.spawn().map_err(spawn_error)?;
        // Not until the end of the pipe: the parent of the first process holds it until the power
        // cut. A boot that fails closes it.
        let output = boot.stdout.take().map(BufReader::new);
        let mut said = Vec::new();
        let mut ready = None;
        for line in output.into_iter().flat_map(BufRead::lines) {
            let line = line.map_err(spawn_error)?;
            ready = line.strip_prefix("ready ").and_then(|pid| pid.parse().ok());
            if ready.is_some() {
                break;
            }
            said.push(line);
        }
        // `setsid` forks and ends: the host has no parent here.
        boot.wait().map_err(spawn_error)?;
        let pid: u32 = ready.ok_or_else(|| LabError::Boot {
            host: host.name.clone(),
            output: said.join("; "),
        })?;
        let file = pid_file(host, state_dir);
        fs::write(&file, pid.to_string()).map_err(LabError::file("write", &file))?;
        Ok(Self::of(pid))
    }

    /// Removes what [`FirstProcess::find`] goes by.
    pub(crate) fn forget(host: &HostLayout, state_dir: &Path) -> Result<()> {
        let file = pid_file(host, state_dir);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(LabError::file("remove", file)(error))
            }
            _ => Ok(()),
        }
    }

    /// Its number on the machine.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Does it stand still after SIGSTOP?
    pub(crate) fn is_stopped(&self) -> bool {
        self.process.is_stopped()
    }

    /// Ends it, and the kernel then ends all others of the host.
    pub(crate) fn kill(&self) {
        self.process.signal(Signal::KILL);
    }

    /// All processes of the host but this one and its idle child.
    pub(crate) fn others(&self) -> Vec<Process> {
        let is_other = |process: &Process| process.pid != self.process.pid && process.name != IDLE;
        self.everything().into_iter().filter(is_other).collect()
    }

    /// SIGSTOP or SIGCONT to every process of the host, until all have followed it.
    pub(crate) fn signal_everything(&self, signal: Signal) -> Result<()> {
        deadline::until(
            "all processes of the host have stopped or gone on",
            SETTLE,
            || {
                let all = self.everything();
                for process in &all {
                    process.signal(signal);
                }
                let followed = all
                    .iter()
                    .all(|process| process.is_stopped() == (signal == Signal::STOP));
                Ok(followed.then_some(()))
            },
        )
    }

    fn everything(&self) -> Vec<Process> {
        namespace(self.process.pid, "pid")
            .map(|pids| all_in("pid", pids))
            .unwrap_or_default()
    }

    fn of(pid: u32) -> Self {
        Self {
            process: Process {
                pid,
                name: "lab-init".to_owned(),
            },
        }
    }
}

fn pid_file(host: &HostLayout, state_dir: &Path) -> PathBuf {
    state_dir.join(format!("{}.pid", host.name))
}
