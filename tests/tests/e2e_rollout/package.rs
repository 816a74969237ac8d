//! The package under test, in two versions whose programs differ.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use khactl_tests::Running;

use crate::hosts::repository;

const BUILD: Duration = Duration::from_mins(3);

/// Makes `khactl_VERSION_ARCH.deb` below `scratch` out of the programs that are tested; gives its path. `marked` programs
/// differ from those that were built, as those of another version do.
#[track_caller]
pub(crate) fn build(scratch: &Path, version: &str, marked: bool) -> PathBuf {
    let mut programs = built();
    if marked {
        let copies = scratch.join("marked");
        fs::create_dir_all(&copies).expect("a folder for marked programs");
        let mark = copies.join("mark");
        fs::write(&mark, version).expect("a mark");
        for program in ["khad", "khavip", "khactl"] {
            let mut command = Command::new("objcopy");
            command
                .arg("--add-section")
                .arg(format!(".khactl.test={}", mark.display()))
                .arg(programs.join(program))
                .arg(copies.join(program));
            Running::start("objcopy", command).wait(BUILD).ok();
        }
        programs = copies;
    }
    let mut command = Command::new(repository().join("packaging/build"));
    command
        .args(["--quick", "--version", version, "--programs"])
        .arg(programs)
        .arg("--into")
        .arg(scratch);
    Running::start("packaging/build", command).wait(BUILD).ok();
    let found = fs::read_dir(scratch)
        .expect("the folder of packages")
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&format!("khactl_{version}_"))
        });
    found.expect("a package was made")
}

/// Where the programs under test lie: KHACTL_PROGRAMS, or beside this test.
pub(crate) fn built() -> PathBuf {
    match std::env::var_os("KHACTL_PROGRAMS") {
        Some(dir) => PathBuf::from(dir),
        None => std::env::current_exe()
            .ok()
            .and_then(|test| test.ancestors().nth(2).map(Path::to_owned))
            .expect("the folder of this test"),
    }
}
