//! A component's process and everything that it started, found in /proc and held by pidfds.

use std::io;
use std::time::Duration;

use khactl_model::component::ComponentName;
use khactl_sys::pidfd::PidFd;
use khactl_sys::process_stat::ProcessStat;
use rustix::process::Signal;

use crate::procfs;

/// Marks a child with its component.
pub(crate) const COMPONENT: &str = "KHACTL_COMPONENT";
/// Marks a child with its cluster: those of another are left alone.
pub(crate) const CLUSTER: &str = "KHACTL_CLUSTER";
/// Marks a child with the id of the records that it stands in: several hosts' processes are
/// seen in one /proc when hosts are network namespaces.
pub(crate) const SUPERVISOR: &str = "KHACTL_SUPERVISOR";
/// Marks a child with this very start.
pub(crate) const START: &str = "KHACTL_START";

/// A process with the marks that we put on it.
#[derive(Debug)]
pub(crate) struct Marked {
    /// Holds it.
    pub(crate) fd: PidFd,
    /// What the kernel says of it.
    pub(crate) stat: ProcessStat,
    /// The start that it came from.
    pub(crate) start: String,
    /// The cluster it was started for.
    pub(crate) cluster: String,
}

/// The processes that belong to one component of one supervisor and one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Kin {
    component: String,
    supervisor: String,
    /// Empty: any.
    cluster: String,
}

impl Kin {
    pub(crate) fn new(name: ComponentName, supervisor: String, cluster: String) -> Self {
        Self {
            component: name.to_string(),
            supervisor,
            cluster,
        }
    }

    /// Whether what was started for that cluster belongs here.
    pub(crate) fn is_of(&self, cluster: &str) -> bool {
        self.cluster.is_empty() || self.cluster == cluster
    }

    /// Every living process with our marks: the one that we started and what inherited its
    /// environment.
    pub(crate) fn marked(&self) -> io::Result<Vec<Marked>> {
        let mut found = self.of_every_cluster()?;
        found.retain(|marked| self.is_of(&marked.cluster));
        Ok(found)
    }

    /// Those that the same supervisor started for another cluster.
    pub(crate) fn foreign(&self) -> io::Result<Vec<Marked>> {
        let mut found = self.of_every_cluster()?;
        found.retain(|marked| !self.is_of(&marked.cluster));
        Ok(found)
    }

    fn of_every_cluster(&self) -> io::Result<Vec<Marked>> {
        let mut found = Vec::new();
        for pid in procfs::pids()? {
            let environment = procfs::environment(pid);
            let value = |key: &str| {
                environment
                    .iter()
                    .find(|(k, _)| k == key)
                    .map_or("", |(_, value)| value.as_str())
            };
            if value(COMPONENT) != self.component || value(SUPERVISOR) != self.supervisor {
                continue;
            }
            let Some((fd, stat)) = hold(pid) else {
                continue;
            };
            // Read again now that it is held: the first reading may have been of another process.
            if procfs::environment(pid) != environment {
                continue;
            }
            found.push(Marked {
                fd,
                stat,
                start: value(START).to_owned(),
                cluster: value(CLUSTER).to_owned(),
            });
        }
        Ok(found)
    }

    /// All that belongs to the component: `leader`, the rest of its session, whatever is marked.
    fn all(&self, leader: Option<&PidFd>) -> io::Result<Vec<PidFd>> {
        let mut found: Vec<PidFd> = self.marked()?.into_iter().map(|marked| marked.fd).collect();
        let Some(leader) = leader else {
            return Ok(found);
        };
        let mut session = Vec::new();
        for pid in procfs::pids()? {
            if ProcessStat::of(pid).is_some_and(|stat| stat.session == leader.pid())
                && let Some((fd, stat)) = hold(pid)
                && stat.session == leader.pid()
            {
                session.push(fd);
            }
        }
        // While the leader lives, its number and so its session's are nobody else's.
        if !leader.has_ended()? {
            found.extend(session);
        }
        Ok(found)
    }

    /// Sends a signal to all, and gives those that got it.
    pub(crate) fn signal(&self, leader: Option<&PidFd>, signal: Signal) -> io::Result<Vec<PidFd>> {
        let all = self.all(leader)?;
        for fd in &all {
            fd.send(signal)?;
        }
        Ok(all)
    }

    /// Kills all, those of `known` too, and waits until none is left; gives one that still is after
    /// `deadline`. What they start meanwhile is found in the next round.
    pub(crate) fn kill(
        &self,
        leader: Option<&PidFd>,
        mut known: Vec<PidFd>,
        deadline: Duration,
    ) -> io::Result<Option<u32>> {
        let until = khactl_sys::clock::monotonic() + deadline;
        loop {
            known.extend(self.signal(leader, Signal::KILL)?);
            let mut left = None;
            for fd in &known {
                fd.send(Signal::KILL)?;
            }
            for fd in &known {
                let time = until.saturating_sub(khactl_sys::clock::monotonic());
                if !fd.wait(time)? {
                    left = Some(fd.pid());
                }
            }
            if left.is_some() || known.is_empty() {
                return Ok(left);
            }
            known.clear();
        }
    }
}

/// Takes hold of the process that has this number, if it lives.
fn hold(pid: u32) -> Option<(PidFd, ProcessStat)> {
    let fd = PidFd::open(pid).ok()?;
    // Read after opening, and believed only if the process had not ended by then: so both are of the
    // same one.
    let stat = ProcessStat::of(pid)?;
    (stat.is_alive() && !fd.has_ended().ok()?).then_some((fd, stat))
}

/// Takes hold of a recorded process: the number alone is not enough, the start time must be the
/// same.
pub(crate) fn hold_recorded(pid: u32, start_ticks: u64) -> Option<PidFd> {
    let (fd, stat) = hold(pid)?;
    (stat.start_ticks == start_ticks).then_some(fd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    #[test]
    fn a_reused_number_is_not_taken_for_the_recorded_process() {
        let pid = std::process::id();
        let ticks = ProcessStat::of(pid).unwrap().start_ticks;
        assert!(hold_recorded(pid, ticks).is_some());
        assert!(hold_recorded(pid, ticks + 1).is_none());
    }

    #[test]
    fn marked_grandchildren_are_killed_and_other_supervisors_processes_are_not() {
        let tag = format!("{:016x}", khactl_sys::entropy::seed().unwrap());
        let start = |supervisor: &str| {
            let mut command = Command::new("sh");
            command
                .args(["-c", "sleep 600 & sleep 600 & wait"])
                .env(COMPONENT, "etcd")
                .env(SUPERVISOR, supervisor)
                .stdin(Stdio::null())
                .process_group(0);
            command.spawn().unwrap()
        };
        let mut ours = start(&tag);
        let mut other = start("someone-else");
        let kin = Kin::new(ComponentName::Etcd, tag, String::new());
        // The shell needs a moment to start its own.
        let deadline = khactl_sys::clock::monotonic() + Duration::from_secs(20);
        while kin.marked().unwrap().len() < 3 {
            assert!(
                khactl_sys::clock::monotonic() < deadline,
                "the shell started nothing"
            );
            std::thread::yield_now();
        }
        assert_eq!(
            kin.kill(None, Vec::new(), Duration::from_secs(20)).unwrap(),
            None
        );
        assert!(kin.marked().unwrap().is_empty());
        ours.wait().unwrap();
        assert!(other.try_wait().unwrap().is_none(), "the other one goes on");
        let others = Kin::new(
            ComponentName::Etcd,
            "someone-else".to_owned(),
            String::new(),
        );
        others
            .kill(None, Vec::new(), Duration::from_secs(20))
            .unwrap();
        other.wait().unwrap();
    }
}
