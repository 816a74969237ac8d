//! The packages under test, in versions whose programs differ, and those of a release.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::hosts::repository;
use crate::programs::{cache, programs_dir};
use crate::running::Running;

const BUILD: Duration = Duration::from_mins(3);

/// What `packaging/build` makes out of one set of programs.
#[derive(Debug, Clone)]
pub struct Packages {
    /// `khactl_VERSION_ARCH.deb`
    pub deb: PathBuf,
    /// `khactl-VERSION-linux-ARCH.tar.gz`
    pub tarball: PathBuf,
}

impl Packages {
    /// Makes them below `scratch` out of the programs that are tested. `marked` programs differ from those that were built,
    /// as those of another version do.
    #[track_caller]
    pub fn build(scratch: &Path, version: &str, marked: bool) -> Self {
        let programs = if marked {
            marked_programs(scratch, version)
        } else {
            programs_dir()
        };
        let mut command = Command::new(repository().join("packaging/build"));
        command
            .args(["--quick", "--version", version, "--programs"])
            .arg(programs)
            .arg("--into")
            .arg(scratch);
        Running::start("packaging/build", command).wait(BUILD).ok();
        let made = |start: String, end| {
            let found = newest(scratch, &start, end);
            found.unwrap_or_else(|| panic!("no {start}*{end} was made"))
        };
        Self {
            deb: made(format!("khactl_{version}_"), ".deb"),
            tarball: made(format!("khactl-{version}-linux-"), ".tar.gz"),
        }
    }

    /// The newest `.deb` that `make package` made; none before the first.
    pub fn released() -> Option<PathBuf> {
        newest(&cache().join("packages"), "khactl_", ".deb")
    }
}

#[track_caller]
fn marked_programs(scratch: &Path, version: &str) -> PathBuf {
    let copies = scratch.join("marked");
    fs::create_dir_all(&copies).expect("a folder for marked programs");
    let mark = copies.join("mark");
    fs::write(&mark, version).expect("a mark");
    for program in ["khad", "khavip", "khactl"] {
        let mut command = Command::new("objcopy");
        command
            .arg("--add-section")
            .arg(format!(".khactl.test={}", mark.display()))
            .arg(programs_dir().join(program))
            .arg(copies.join(program));
        Running::start("objcopy", command).wait(BUILD).ok();
    }
    copies
}

/// The youngest file of a folder whose name begins and ends so.
fn newest(folder: &Path, start: &str, end: &str) -> Option<PathBuf> {
    fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(start) && name.ends_with(end)
        })
        .max_by_key(|path| {
            let changed = path.metadata().and_then(|facts| facts.modified());
            changed.unwrap_or(SystemTime::UNIX_EPOCH)
        })
}
