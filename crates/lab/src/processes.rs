//! The processes of one host, seen from the machine: those in the host's pid namespace.
//!
//! A process cannot leave its pid namespace, so nothing that a host ever started is missed, also
//! when its parent is long dead.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use khactl_sys::process_stat::ProcessStat;
use rustix::process::{Pid, Signal, kill_process};

/// One process of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number on the machine, not the one inside the host.
    pub pid: u32,
    /// The last part of its first argument: `khad`, `kube-apiserver`, …
    pub name: String,
}

impl Process {
    /// Sends a signal; one that has ended meanwhile is no error.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Does it stand still after SIGSTOP?
    pub(crate) fn is_stopped(&self) -> bool {
        ProcessStat::of(self.pid).is_some_and(|stat| stat.is_stopped())
    }

    /// Is it still running? A zombie is not.
    pub fn is_running(&self) -> bool {
        is_running(self.pid)
    }
}

/// The identity of a namespace of a process; none for a process that has ended.
pub(crate) fn namespace(pid: u32, kind: &str) -> Option<(u64, u64)> {
    identity(
        &Path::new("/proc")
            .join(pid.to_string())
            .join("ns")
            .join(kind),
    )
}

/// The identity of what a namespace file refers to.
pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// A zombie still has its pid namespace, but has given its network back.
pub(crate) fn is_running(pid: u32) -> bool {
    namespace(pid, "net").is_some()
}

/// Every running process whose namespace of this kind is the given one.
pub(crate) fn all_in(kind: &str, wanted: (u64, u64)) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| namespace(*pid, kind) == Some(wanted) && is_running(*pid))
        .filter_map(|pid| {
            Some(Process {
                pid,
                name: name_of(pid)?,
            })
        })
        .collect()
}

fn name_of(pid: u32) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    let name = first.rsplit('/').next().unwrap_or_default();
    Some(name.to_owned())
}

/// The start time of a process, in clock ticks since boot: with the number, it names a process
/// for good.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    ProcessStat::of(pid).map(|stat| stat.start_ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_in_its_own_namespace() {
        let me = std::process::id();
        let own = namespace(me, "pid").unwrap();
        let found = all_in("pid", own);
        assert!(
            found
                .iter()
                .any(|process| process.pid == me && process.is_running())
        );
        assert!(start_time(me).is_some_and(|ticks| ticks > 0));
        assert_eq!(start_time(u32::MAX), None);
    }
}
