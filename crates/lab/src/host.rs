//! One host of a lab.
//!
//! ```text
//!   off ── start ──▶ on ◀── resume ── pause ──▶ paused
//!    ▲               │                            │
//!    └── stop, kill ─┴──────────── kill ──────────┘
//! ```
//!
//! It holds no state of its own: whether a host is on is read from the kernel, so that any
//! process may work on any lab.

mod stopping;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use khactl_sys::detach::detach;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::cgroup::HostCgroup;
use crate::error::{LabError, Result};
use crate::first_process::FirstProcess;
use crate::folders::{Folders, folder};
use crate::layout::HostLayout;
use crate::processes::{Process, all_in, identity};
use crate::programs::{PROGRAMS_DIR, Programs};
use crate::switch::Switch;
use crate::{deadline, tool};

/// Where a host's own folders are mounted; the machine gets them empty.
const MOUNT_POINTS: [&str; 4] = [
    "/var/lib/khactl",
    "/var/log/khactl",
    "/run/khactl",
    "/opt/khactl",
];

/// From the start of `khad` until it listens. It opens RocksDB first; a busy machine takes seconds.
const AGENT_START: Duration = Duration::from_secs(20);

/// The kernel ends SIGKILLed processes in milliseconds; this is for a machine that is swapping.
const KILL: Duration = Duration::from_secs(10);

/// How much of an agent's log an error shows, in lines.
const LOG_LINES_MAX: usize = 20;

/// Is a host's power on?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// Its processes run.
    On,
    /// None of its processes gets the processor; its addresses stay.
    Paused,
    /// Nothing of it is there but its disk.
    Off,
}

/// One host, or the client machine.
#[derive(Debug, Clone)]
pub struct LabHost {
    layout: HostLayout,
    folders: Folders,
    state_dir: PathBuf,
    switch: Switch,
    programs: Arc<Programs>,
    /// The client has no agent.
    agent: bool,
}

impl LabHost {
    pub(crate) fn new(
        layout: HostLayout,
        state_dir: &Path,
        switch: &Switch,
        programs: &Arc<Programs>,
        agent: bool,
    ) -> Self {
        Self {
            folders: Folders::new(&layout.disk),
            layout,
            state_dir: state_dir.to_owned(),
            switch: switch.clone(),
            programs: Arc::clone(programs),
            agent,
        }
    }

    /// `cp1`, … or `client`.
    pub fn name(&self) -> &str {
        &self.layout.name
    }

    /// Its address on `eth0`.
    pub fn address(&self) -> Ipv4Addr {
        self.layout.address
    }

    /// Names, addresses and paths.
    pub fn layout(&self) -> &HostLayout {
        &self.layout
    }

    /// Its `/var/lib/khactl`, as a path on the machine.
    pub fn data_dir(&self) -> PathBuf {
        self.folders.data()
    }

    /// Its `/var/log/khactl`, as a path on the machine.
    pub fn log_dir(&self) -> PathBuf {
        self.folders.log()
    }

    /// Its `/etc/khactl`, as a path on the machine.
    pub fn etc_dir(&self) -> PathBuf {
        self.folders.etc()
    }

    /// Its root folder with all its mounts, as a path on the machine; for as long as it is on.
    pub fn root_dir(&self) -> Result<PathBuf> {
        Ok(PathBuf::from(format!("/proc/{}/root", self.init()?.pid())))
    }

    /// Its `/run/khactl`, as a path on the machine; for as long as it is on.
    pub fn run_dir(&self) -> Result<PathBuf> {
        Ok(self.root_dir()?.join("run/khactl"))
    }

    /// On, off or paused at this moment.
    pub fn power(&self) -> Power {
        match self.init() {
            Err(_) => Power::Off,
            Ok(init)
                if init.is_stopped() || self.cgroup().is_some_and(|cgroup| cgroup.is_frozen()) =>
            {
                Power::Paused
            }
            Ok(_) => Power::On,
        }
    }

    /// Boots the host, if it is off, and starts its agent, if it has one and the lab was given
    /// programs; returns when the agent listens on its socket.
    pub fn start(&self) -> Result<()> {
        self.boot()?;
        if self.agent && self.programs.dir.is_some() {
            self.start_agent()
        } else {
            Ok(())
        }
    }

    /// Power, link and folders, without an agent. Nothing happens on a host that is on.
    pub fn boot(&self) -> Result<()> {
        if self.init().is_ok() {
            return Ok(());
        }
        self.kill()?;
        self.folders.create()?;
        for point in MOUNT_POINTS {
            folder(Path::new(point), 0o755)?;
        }
        tool::run("ip", &["netns", "add", &self.layout.netns])?;
        self.switch.plug(&self.layout)?;
        FirstProcess::start(&self.layout, &self.state_dir, &self.programs).map(drop)
    }

    /// Starts `khad` on a host that is on, if none runs; returns when it listens on its socket.
    /// One that has been signalled has to be gone first.
    pub fn start_agent(&self) -> Result<()> {
        // What is there beside an agent is not the start of one.
        let others: Vec<u32> = self
            .processes()
            .into_iter()
            .filter(|process| process.name != "khad")
            .map(|process| process.pid)
            .collect();
        if self.processes_named("khad").is_empty() {
            let mut start = self.exec("sh")?;
            start
                .args([
                    "-c",
                    r#"setsid "$@" </dev/null >>/var/log/khactl/khad.log 2>&1 &"#,
                    "sh",
                ])
                .arg(format!("{PROGRAMS_DIR}/khad"))
                .args([
                    "--host-name",
                    self.name(),
                    "--advertise-address",
                    &self.address().to_string(),
                ])
                .args(&self.programs.agent_args)
                .stdin(Stdio::null());
            detach(&mut start, None);
            start.status().map_err(|source| LabError::Spawn {
                program: "nsenter".to_owned(),
                source,
            })?;
        }
        let socket = self.run_dir()?.join("khad.sock");
        let failed = || LabError::AgentStart {
            host: self.name().to_owned(),
            within_ms: AGENT_START.as_millis(),
            log: self.log_end("khad"),
        };
        deadline::until("khad listens", AGENT_START, || {
            if UnixStream::connect(&socket).is_ok() {
                return Ok(Some(()));
            }
            // Until it is `khad`, its process has the names of what starts it, and for a moment
            // none at all: it is known by not having been there before.
            let starts = |process: &Process| !others.contains(&process.pid);
            if self.processes().iter().any(starts) {
                Ok(None)
            } else {
                Err(failed())
            }
        })
        .map_err(|error| {
            if matches!(error, LabError::Deadline { .. }) {
                failed()
            } else {
                error
            }
        })
    }

    /// A power cut: the port goes down first, then every process dies at once, then the
    /// addresses and the tmpfs are gone. The disk stays. Nothing happens on a host that is off.
    pub fn kill(&self) -> Result<()> {
        let Some(netns) = identity(&self.layout.netns_file()) else {
            return self.forget();
        };
        // A port that is missing is one that an interrupted boot never plugged.
        let plugged = self.switch.port_down(self.name()).is_ok();
        if let Ok(init) = self.init() {
            // The first process takes all others of the host with it.
            init.kill();
        }
        deadline::until(
            &format!("all processes of {} are dead", self.name()),
            KILL,
            || {
                let left = all_in("net", netns);
                for process in &left {
                    process.signal(Signal::KILL);
                }
                Ok(left.is_empty().then_some(()))
            },
        )?;
        if plugged {
            self.switch.unplug(self.name())?;
        }
        tool::run("ip", &["netns", "del", &self.layout.netns])?;
        self.forget()
    }

    /// Stops every process where it stands, as a machine that hangs; its addresses stay and its
    /// kernel still answers. Where there is no cgroup to freeze, the processes stop one by one.
    pub fn pause(&self) -> Result<()> {
        let init = self.init()?;
        match self.cgroup() {
            Some(cgroup) => cgroup.freeze(),
            None => init.signal_everything(Signal::STOP),
        }
    }

    /// Lets a paused host go on.
    pub fn resume(&self) -> Result<()> {
        let init = self.init()?;
        match self.cgroup() {
            Some(cgroup) => cgroup.thaw(),
            None => init.signal_everything(Signal::CONT),
        }
    }

    /// A command that will run inside the host; add arguments, environment and pipes as to any
    /// other. `khad`'s programs and the bundle come first in its PATH. It dies when the process
    /// that waits for it is killed; other signals go by [`LabHost::signal`].
    pub fn exec(&self, program: &str) -> Result<Command> {
        let init = self.init()?;
        let mut command = Command::new("sh");
        // The shell is replaced by nsenter once it is in the host's cgroup.
        command.args([
            "-c",
            r#"[ -z "$1" ] || echo 0 >"$1"; shift; exec nsenter "$@""#,
            "sh",
        ]);
        command.arg(
            self.cgroup()
                .map(|cgroup| cgroup.procs_file())
                .unwrap_or_default(),
        );
        command.args([
            "--target",
            &init.pid().to_string(),
            "--net",
            "--mount",
            "--uts",
            "--pid",
        ]);
        command.args(["--", "setpriv", "--pdeathsig", "KILL", "--", program]);
        command.env("PATH", self.programs.path_variable());
        Ok(command)
    }

    /// All processes of the host but its first one and its idle child; none if it is off.
    pub fn processes(&self) -> Vec<Process> {
        self.init().map(|init| init.others()).unwrap_or_default()
    }

    /// The processes whose program has this name.
    pub fn processes_named(&self, name: &str) -> Vec<Process> {
        self.processes()
            .into_iter()
            .filter(|process| process.name == name)
            .collect()
    }

    /// Sends a signal to all processes whose program has this name; gives their number.
    pub fn signal(&self, name: &str, signal: Signal) -> usize {
        let named = self.processes_named(name);
        for process in &named {
            process.signal(signal);
        }
        named.len()
    }

    /// The same for several programs at once: all are found before the first one is signalled, and
    /// those of the first name are signalled first.
    pub fn signal_each(&self, names: &[&str], signal: Signal) -> usize {
        let processes = self.processes();
        let chosen: Vec<_> = names
            .iter()
            .flat_map(|name| {
                processes
                    .iter()
                    .filter(move |process| process.name == *name)
            })
            .collect();
        for process in &chosen {
            process.signal(signal);
        }
        chosen.len()
    }

    /// Removes an address from its `eth0`, as somebody does by hand.
    pub fn remove_address(&self, address: IpAddr) -> Result<()> {
        let (netns, address) = (&self.layout.netns, address.to_string());
        let arguments = ["-n", netns, "addr", "del", &address, "dev", "eth0"];
        tool::run("ip", &arguments).map(drop)
    }

    /// Every address on its `eth0` at this moment, the VIP too if it holds it; none if it is off.
    pub fn addresses(&self) -> Result<Vec<IpAddr>> {
        if self.init().is_err() {
            return Ok(Vec::new());
        }
        let listed = tool::run(
            "ip",
            &[
                "-n",
                &self.layout.netns,
                "-o",
                "addr",
                "show",
                "dev",
                "eth0",
            ],
        )?;
        Ok(listed.lines().filter_map(address_in).collect())
    }

    /// The last lines of one of its logs, for messages.
    pub fn log_end(&self, component: &str) -> String {
        let text = fs::read(self.log_dir().join(format!("{component}.log"))).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n")
    }

    /// The first process, if the host is on.
    fn init(&self) -> Result<FirstProcess> {
        FirstProcess::find(&self.layout, &self.state_dir)
    }

    fn cgroup(&self) -> Option<HostCgroup> {
        HostCgroup::open(&self.layout.netns)
    }

    /// What is left of a host without power: its cgroup and the number of its first process.
    fn forget(&self) -> Result<()> {
        if let Some(cgroup) = self.cgroup() {
            cgroup.remove()?;
        }
        FirstProcess::forget(&self.layout, &self.state_dir)
    }
}

/// The address in one line of `ip -o addr`: `2: eth0    inet 10.77.0.11/24 brd …`.
fn address_in(line: &str) -> Option<IpAddr> {
    let mut fields = line
        .split_whitespace()
        .skip_while(|field| !matches!(*field, "inet" | "inet6"));
    fields.nth(1)?.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_are_read_from_ips_lines() {
        let four = "2: eth0    inet 10.77.0.100/32 scope global eth0\\       valid_lft 3sec preferred_lft 0sec";
        let six = "2: eth0    inet6 fe80::6b:68ff:fe00:b/64 scope link \\       valid_lft forever";
        assert_eq!(address_in(four), Some("10.77.0.100".parse().unwrap()));
        assert_eq!(
            address_in(six),
            Some("fe80::6b:68ff:fe00:b".parse().unwrap())
        );
        assert_eq!(address_in("3: br0"), None);
    }
}
