//! The file that a process runs, by its identity: its name may mean another file by now, as after an upgrade. It is
//! compared with the start's alone: what stands on the disk now is the next start's business.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A file of this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgramFile {
    device: u64,
    inode: u64,
}

impl ProgramFile {
    /// What the process with that number runs; `None` if it has ended, or is none of ours to read.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Self::at(&link(pid))
    }

    /// The same, if it is `program` itself; `None` where a program starts another one in its place, as a script does: what
    /// that one is to be nobody has said.
    pub(crate) fn started(pid: u32, program: &Path) -> Option<Self> {
        let runs = Self::of(pid)?;
        (Self::at(program)? == runs).then_some(runs)
    }

    /// Its name as the kernel tells it, for people.
    pub(crate) fn name(pid: u32) -> PathBuf {
        fs::read_link(link(pid)).unwrap_or_default()
    }

    fn at(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

fn link(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/exe"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_by_its_file_and_not_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let own = std::env::current_exe().unwrap();
        let pid = std::process::id();
        let runs = ProgramFile::started(pid, &own).unwrap();
        assert_eq!(ProgramFile::of(pid), Some(runs));
        assert_eq!(ProgramFile::name(pid), own.canonicalize().unwrap());

        // Another name of the same file, and another file.
        let (same, copy) = (folder.path().join("same"), folder.path().join("copy"));
        std::os::unix::fs::symlink(&own, &same).unwrap();
        fs::copy("/bin/sh", &copy).unwrap();
        assert_eq!(ProgramFile::started(pid, &same), Some(runs));
        assert_eq!(ProgramFile::started(pid, &copy), None);
        assert_eq!(
            ProgramFile::started(pid, Path::new("/no/such/program")),
            None
        );
    }
}
