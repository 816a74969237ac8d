//! The lab, as whoever tries khactl meets it first: the quick start's commands, as they are typed. It has the default name,
//! so an earlier `make lab` of this machine goes, as with any other one.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use khactl_tests::{
    Block, LONG, Outcome, Running, built_bundle, programs_dir, quick_start, repository,
};
use tempfile::TempDir;

/// `make lab` without what it builds before, which is there.
const LAB_ALONE: &str = "make -o build -o kube lab";

#[test]
fn the_quick_starts_lab_works_word_for_word() {
    let blocks = quick_start("A lab on one machine");
    let Ok([made, looked, ended]) = <[Block; 3]>::try_from(blocks) else {
        panic!("the page has other blocks");
    };
    let reader = Reader::new();

    assert_eq!(made.script, "make lab");
    let told = reader.types(LAB_ALONE).ok();
    assert!(told.contains(" writes acknowledged, 0 lost"), "{told}");
    assert!(told.contains("take everything down"), "{told}");
    // In one shell, as they are typed: the first block says where `khactl` is.
    let told = reader
        .types(&format!("{}\n{}", looked.script, ended.script))
        .ok();
    assert!(told.contains("kube-system"), "{told}");
    assert!(told.contains("the lab lab is down"), "{told}");
}

/// Somebody in a clone of the repository. Dropped, his lab goes.
struct Reader {
    home: TempDir,
}

impl Reader {
    #[track_caller]
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a home");
        // Where the page finds the programs.
        let target = home.path().join(".cache/khactl/target");
        fs::create_dir_all(&target).expect("a folder for the programs");
        symlink(programs_dir(), target.join("debug")).expect("the programs");
        Self { home }
    }

    /// Runs the lines to their end, or to the first that fails.
    #[track_caller]
    fn types(&self, script: &str) -> Outcome {
        let mut shell = Command::new("bash");
        shell
            .args(["-ec", script])
            .current_dir(repository())
            .env("HOME", self.home.path())
            .env("KHACTL_PROGRAMS", programs_dir())
            .env("KHACTL_BUNDLE", built_bundle())
            // Those of a `make` that runs this test.
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL");
        Running::start(script, shell).wait(LONG * 2)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // It is down already unless a test fails.
        let _ = Command::new(programs_dir().join("khactl"))
            .args(["lab", "down"])
            .stdout(Stdio::null())
            .status();
    }
}
