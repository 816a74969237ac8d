//! A lab: the switch and its hosts as one thing that goes up and comes down.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Signal, geteuid};

use crate::cgroup::HostCgroup;
use crate::error::{LabError, Result};
use crate::folders::{folder, remove};
use crate::host::LabHost;
use crate::layout::{self, CLIENT, NETNS_DIR, hosts_of, netns_prefix, state_dir};
use crate::name::LabName;
use crate::processes::{all_in, identity};
use crate::programs::Programs;
use crate::state::{HostStatus, LabState, LabStatus, Owner};
use crate::switch::{Cut, Switch};
use crate::{deadline, tool};

/// For processes to die at the end of a lab.
const KILL: Duration = Duration::from_secs(10);

/// What a lab is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabOptions {
    /// Control-plane hosts, `cp1` to `cpN`; one to [`crate::HOSTS_MAX`].
    pub hosts: usize,
    /// The folder with `khad`, `khavip` and `khactl`. Without it hosts boot without an agent.
    pub programs_dir: Option<PathBuf>,
    /// The bundle's folder; hosts see it as [`Lab::bundle_inside`].
    pub bundle: Option<PathBuf>,
    /// Further arguments for every `khad`.
    pub agent_args: Vec<String>,
    /// Whether the lab outlives this process, until [`Lab::take_down`].
    pub keep: bool,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self {
            hosts: 3,
            programs_dir: None,
            bundle: None,
            agent_args: Vec::new(),
            keep: false,
        }
    }
}

/// A lab that is up. Dropped, it goes down, unless it was to be kept or was only opened.
#[derive(Debug)]
pub struct Lab {
    name: LabName,
    programs: Arc<Programs>,
    switch: Switch,
    /// The control-plane hosts, then the client.
    hosts: Vec<LabHost>,
    ours: bool,
}

impl Lab {
    /// Brings a lab up: whatever a crashed run left of it or of another lab without an owner goes
    /// first, disks included; then the switch, then all hosts boot and their agents listen.
    pub fn up(name: &str, options: LabOptions) -> Result<Self> {
        let name = LabName::new(name)?;
        let layouts = hosts_of(&name, options.hosts)?;
        if !geteuid().is_root() {
            return Err(LabError::NotRoot);
        }
        Self::sweep()?;
        if let Some(owner) = LabState::read(&name).ok().and_then(|state| state.owner)
            && owner.pid != std::process::id()
        {
            return Err(LabError::InUse {
                name: name.to_string(),
                pid: owner.pid,
            });
        }
        Self::take_down(&name)?;
        let programs = Programs {
            dir: options.programs_dir.as_deref().map(full).transpose()?,
            bundle: options.bundle.as_deref().map(full).transpose()?,
            agent_args: options.agent_args,
        };
        let owner = if options.keep {
            None
        } else {
            Owner::this_process()
        };
        let state = LabState {
            name: name.clone(),
            hosts: options.hosts,
            programs,
            owner,
        };
        folder(&state_dir(&name), 0o755)?;
        state.write()?;
        // From here on dropping the value cleans up after a step that fails.
        let mut lab = Self::assemble(state, layouts);
        lab.ours = true;
        lab.switch.create()?;
        for host in &lab.hosts {
            host.start()?;
        }
        lab.ours = !options.keep;
        Ok(lab)
    }

    /// The lab of this name that is up; dropping the value leaves it up.
    pub fn open(name: &str) -> Result<Self> {
        let name = LabName::new(name)?;
        let state = LabState::read(&name)?;
        let layouts = hosts_of(&name, state.hosts)?;
        Ok(Self::assemble(state, layouts))
    }

    /// Names of all labs that are up on this machine.
    pub fn all() -> Vec<LabName> {
        let Ok(entries) = fs::read_dir(layout::labs_dir()) else {
            return Vec::new();
        };
        let lab_of = |entry: fs::DirEntry| LabName::new(entry.file_name().to_str()?).ok();
        let mut names: Vec<_> = entries
            .flatten()
            .filter_map(lab_of)
            .filter(|name| LabState::read(name).is_ok())
            .collect();
        names.sort();
        names
    }

    /// Takes a lab down by name, disks included, whatever state it is in; nothing happens if
    /// there is none.
    pub fn take_down(name: &LabName) -> Result<()> {
        for netns in namespaces_of(name) {
            let file = Path::new(NETNS_DIR).join(&netns);
            if let Some(wanted) = identity(&file) {
                deadline::until(&format!("all processes in {netns} are dead"), KILL, || {
                    let left = all_in("net", wanted);
                    for process in &left {
                        process.signal(Signal::KILL);
                    }
                    Ok(left.is_empty().then_some(()))
                })?;
            }
            // Somebody else's sweep may have been quicker.
            if let Err(error) = tool::run("ip", &["netns", "del", &netns])
                && file.exists()
            {
                return Err(error);
            }
        }
        HostCgroup::remove_all_of(name)?;
        remove(&layout::disk_dir(name))?;
        remove(&state_dir(name))
    }

    /// Takes down all labs whose owner has died without doing so.
    pub fn sweep() -> Result<()> {
        for name in Self::all() {
            if LabState::read(&name)
                .ok()
                .and_then(|state| state.owner)
                .is_some_and(|owner| !owner.is_alive())
            {
                Self::take_down(&name)?;
            }
        }
        Ok(())
    }

    /// Takes this lab down.
    pub fn down(mut self) -> Result<()> {
        self.ours = false;
        Self::take_down(&self.name)
    }

    /// The lab stays up when this value, and this process, is gone.
    pub fn keep(&mut self) -> Result<()> {
        let state = LabState {
            owner: None,
            ..LabState::read(&self.name)?
        };
        state.write()?;
        self.ours = false;
        Ok(())
    }

    /// The lab's name.
    pub fn name(&self) -> &LabName {
        &self.name
    }

    /// The control-plane hosts, `cp1` first.
    pub fn hosts(&self) -> &[LabHost] {
        &self.hosts[..self.hosts.len() - 1]
    }

    /// One host by name, the client too.
    pub fn host(&self, name: &str) -> Result<&LabHost> {
        self.hosts
            .iter()
            .find(|host| host.name() == name)
            .ok_or_else(|| LabError::UnknownHost {
                host: name.to_owned(),
                known: self
                    .hosts
                    .iter()
                    .map(LabHost::name)
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }

    /// The machine outside the cluster, at 10.77.0.200.
    pub fn client(&self) -> &LabHost {
        // `hosts_of` puts it last, always.
        &self.hosts[self.hosts.len() - 1]
    }

    /// The bundle's path inside every host.
    pub fn bundle_inside(&self) -> Option<PathBuf> {
        self.programs.bundle_inside()
    }

    /// What the hosts are plugged into.
    pub(crate) fn switch(&self) -> &Switch {
        &self.switch
    }

    /// See [`LabHost::start`].
    pub fn start(&self, host: &str) -> Result<()> {
        self.host(host)?.start()
    }

    /// See [`LabHost::stop`].
    pub fn stop(&self, host: &str, grace: Duration) -> Result<()> {
        self.host(host)?.stop(grace)
    }

    /// See [`LabHost::kill`].
    pub fn kill(&self, host: &str) -> Result<()> {
        self.host(host)?.kill()
    }

    /// See [`LabHost::pause`].
    pub fn pause(&self, host: &str) -> Result<()> {
        self.host(host)?.pause()
    }

    /// See [`LabHost::resume`].
    pub fn resume(&self, host: &str) -> Result<()> {
        self.host(host)?.resume()
    }

    /// See [`LabHost::exec`].
    pub fn exec(&self, host: &str, program: &str) -> Result<Command> {
        self.host(host)?.exec(program)
    }

    /// Cuts a host from all others and from the client, both ways.
    pub fn cut(&self, host: &str) -> Result<()> {
        self.host(host)?;
        let others = self
            .hosts
            .iter()
            .map(LabHost::name)
            .filter(|other| *other != host);
        let cuts = others
            .flat_map(|other| [Cut::new(host, other), Cut::new(other, host)])
            .collect();
        self.switch.cut(&cuts)
    }

    /// Cuts two hosts from each other, both ways.
    pub fn cut_pair(&self, one: &str, other: &str) -> Result<()> {
        self.host(one)?;
        self.host(other)?;
        self.switch.cut(&BTreeSet::from([
            Cut::new(one, other),
            Cut::new(other, one),
        ]))
    }

    /// Frames of `from` do not reach `to`; the other way stays open.
    pub fn cut_one_way(&self, from: &str, to: &str) -> Result<()> {
        self.host(from)?;
        self.host(to)?;
        self.switch.cut(&BTreeSet::from([Cut::new(from, to)]))
    }

    /// All these cuts at the same instant.
    pub fn cut_each(&self, cuts: &[Cut]) -> Result<()> {
        for cut in cuts {
            self.host(&cut.from)?;
            self.host(&cut.to)?;
        }
        self.switch.cut(&cuts.iter().cloned().collect())
    }

    /// Removes every cut that touches the host.
    pub fn heal(&self, host: &str) -> Result<()> {
        self.host(host)?;
        self.switch.heal(host)
    }

    /// Removes all cuts.
    pub fn heal_all(&self) -> Result<()> {
        self.switch.heal_all()
    }

    /// The lab at this moment.
    pub fn status(&self) -> Result<LabStatus> {
        let host_status = |host: &LabHost| {
            let mut processes: Vec<_> = host
                .processes()
                .into_iter()
                .map(|process| process.name)
                .collect();
            processes.sort();
            HostStatus {
                name: host.name().to_owned(),
                address: host.address(),
                power: host.power(),
                processes,
            }
        };
        Ok(LabStatus {
            name: self.name.clone(),
            hosts: self.hosts.iter().map(host_status).collect(),
            cuts: self.switch.cuts()?.into_iter().collect(),
        })
    }

    fn assemble(state: LabState, layouts: Vec<layout::HostLayout>) -> Self {
        let switch = Switch::new(&state.name);
        let programs = Arc::new(state.programs);
        let hosts = layouts
            .into_iter()
            .map(|layout| {
                let agent = layout.name != CLIENT;
                LabHost::new(layout, &state_dir(&state.name), &switch, &programs, agent)
            })
            .collect();
        Self {
            name: state.name,
            programs,
            switch,
            hosts,
            ours: false,
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.ours {
            // Whatever fails here is swept by the next lab: this process owns it no longer then.
            let _ = Self::take_down(&self.name);
        }
    }
}

fn namespaces_of(name: &LabName) -> Vec<String> {
    let Ok(entries) = fs::read_dir(NETNS_DIR) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|netns| netns.starts_with(&netns_prefix(name)))
        .collect()
}

/// A path that means the same inside a host.
fn full(path: &Path) -> Result<PathBuf> {
    fs::canonicalize(path).map_err(LabError::file("find", path))
}
