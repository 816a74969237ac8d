//! A host's own cgroup of the unified hierarchy, where the machine has one: it freezes all of the
//! host at one instant. Its absence is no error: the host is then paused process by process.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::deadline;
use crate::error::{LabError, Result};
use crate::layout::netns_prefix;
use crate::name::LabName;

/// The kernel freezes and reaps in milliseconds; this is for a machine that is swapping.
const SETTLE: Duration = Duration::from_secs(10);

/// One cgroup. Hosts may make more below it.
#[derive(Debug, Clone)]
pub(crate) struct HostCgroup {
    path: PathBuf,
}

impl HostCgroup {
    /// Makes the cgroup, if there is a hierarchy that can be written.
    pub(crate) fn create(name: &str) -> Option<Self> {
        let path = unified_root()?.join(name);
        fs::create_dir_all(&path).ok()?;
        // A hierarchy that is shown read-only lets nobody in.
        fs::metadata(path.join("cgroup.procs")).ok()?;
        Some(Self { path })
    }

    /// The cgroup of an earlier [`HostCgroup::create`].
    pub(crate) fn open(name: &str) -> Option<Self> {
        let path = unified_root()?.join(name);
        path.is_dir().then_some(Self { path })
    }

    /// Where a process writes its number to enter.
    pub(crate) fn procs_file(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// Is the whole cgroup frozen?
    pub(crate) fn is_frozen(&self) -> bool {
        fs::read_to_string(self.path.join("cgroup.events"))
            .is_ok_and(|events| events.lines().any(|line| line == "frozen 1"))
    }

    /// Stops all processes in the cgroup and waits until the last one stands.
    pub(crate) fn freeze(&self) -> Result<()> {
        self.write("cgroup.freeze", "1")?;
        deadline::until("the cgroup is frozen", SETTLE, || {
            Ok(self.is_frozen().then_some(()))
        })
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) -> Result<()> {
        self.write("cgroup.freeze", "0")
    }

    /// Kills what is left in it and removes it with all that was made below.
    pub(crate) fn remove(&self) -> Result<()> {
        // Kernels before 5.14 have no such file; the processes are dead by then all the same.
        let _ = self.write("cgroup.kill", "1");
        let gone = || Ok((remove_tree(&self.path) || !self.path.exists()).then_some(()));
        deadline::until("the cgroup is empty", SETTLE, gone)
    }

    /// Removes the cgroups of all hosts of a lab.
    pub(crate) fn remove_all_of(lab: &LabName) -> Result<()> {
        let Some(root) = unified_root() else {
            return Ok(());
        };
        let Ok(entries) = fs::read_dir(root) else {
            return Ok(());
        };
        for entry in entries.flatten() {
            if entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with(&netns_prefix(lab)))
            {
                Self { path: entry.path() }.remove()?;
            }
        }
        Ok(())
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.path.join(file);
        fs::write(&path, text).map_err(LabError::file("write", path))
    }
}

/// Folders only: a cgroup's files go with it. True when nothing is left.
fn remove_tree(path: &Path) -> bool {
    if let Ok(entries) = fs::read_dir(path) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_tree(&entry.path());
            }
        }
    }
    fs::remove_dir(path).is_ok()
}

fn unified_root() -> Option<PathBuf> {
    root_in(&fs::read_to_string("/proc/mounts").ok()?)
}

fn root_in(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_, at, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_hierarchy_is_found_beside_old_ones_and_alone() {
        let hybrid = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(
            root_in(hybrid),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
        assert_eq!(
            root_in("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"),
            Some(PathBuf::from("/sys/fs/cgroup"))
        );
        assert_eq!(root_in("proc /proc proc rw 0 0\n"), None);
    }
}
