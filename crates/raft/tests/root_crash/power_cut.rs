//! Nothing acknowledged is lost when a member dies and its host loses power.
//!
//! kill -9 alone proves little, because the page cache survives it: the store lies on an ext4
//! of its own in a file, and the next round goes on with a copy of that file taken at the
//! kill, which has what was synced and nothing else.
//!
//! `KHACTL_CRASH_ROUNDS` says how many rounds (50), `KHACTL_CRASH_SEED` repeats a run.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::loop_disk::LoopDisk;

const WRITER: &str = env!("CARGO_BIN_EXE_raft-numbered-writer");
/// A fresh disk after so many rounds, so that the state stays small.
const ROUNDS_PER_DISK: u64 = 25;
/// A writer that acknowledges nothing for this long has hung.
const HANG: Duration = Duration::from_mins(1);
/// Kills come after up to so many acknowledged numbers: snapshots are taken every 200.
const ACKS_MAX: u64 = 900;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|value| value.parse().expect("a whole number"))
}

/// A small generator (splitmix64), so that a seed repeats a run.
struct Dice(u64);

impl Dice {
    fn up_to(&mut self, max: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % max
    }
}

/// Runs a writer on `store` until it has acknowledged `acks` numbers and `pause` more has
/// passed, kills it, and returns all that it acknowledged.
fn write_and_kill(store: &Path, first: u64, acks: u64, pause: Duration) -> BTreeSet<u64> {
    let mut writer = Command::new(WRITER)
        .args(["write", store.to_str().expect("UTF-8"), &first.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the writer starts");
    let out = writer.stdout.take().expect("its output");
    let (tell, acknowledged) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(out).lines() {
            // The last line may be cut off by the kill; then nobody saw it acknowledged.
            let Ok(Ok(number)) = line.map(|line| line.parse::<u64>()) else {
                return;
            };
            if tell.send(number).is_err() {
                return;
            }
        }
    });
    let mut seen = BTreeSet::new();
    while (seen.len() as u64) < acks {
        match acknowledged.recv_timeout(HANG) {
            Ok(number) => seen.insert(number),
            Err(error) => {
                kill(&mut writer);
                panic!(
                    "the writer acknowledged {} of {acks} numbers: {error}",
                    seen.len()
                );
            }
        };
    }
    std::thread::sleep(pause);
    kill(&mut writer);
    reader.join().expect("the reader ends with its pipe");
    seen.extend(acknowledged);
    seen
}

fn kill(writer: &mut Child) {
    writer.kill().expect("SIGKILL");
    writer.wait().expect("the writer is reaped");
}

fn list(store: &Path) -> BTreeSet<u64> {
    let mut lister = Command::new(WRITER)
        .args(["list", store.to_str().expect("UTF-8")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the lister starts");
    let mut held = String::new();
    lister
        .stdout
        .take()
        .expect("its output")
        .read_to_string(&mut held)
        .expect("UTF-8");
    assert!(
        lister.wait().expect("it ends").success(),
        "the store did not open after the crash"
    );
    held.lines()
        .map(|line| line.parse().expect("a number"))
        .collect()
}

#[test]
fn no_acknowledged_entry_is_missing_after_power_cuts() {
    let rounds = setting("KHACTL_CRASH_ROUNDS").unwrap_or(50);
    let seed = setting("KHACTL_CRASH_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("KHACTL_CRASH_SEED={seed} KHACTL_CRASH_ROUNDS={rounds}");
    let mut dice = Dice(seed);
    let mut disk = LoopDisk::create("power-0", 128);
    let mut acknowledged: BTreeSet<u64> = BTreeSet::new();
    let mut total = 0;
    let mut next = 1;
    for round in 1..=rounds {
        let acks = 1 + dice.up_to(ACKS_MAX);
        let pause = Duration::from_micros(dice.up_to(5_000));
        let fresh = write_and_kill(&disk.path().join("raft"), next, acks, pause);
        total += fresh.len();
        // Numbers that were handed out and not acknowledged are never used again.
        next = fresh.last().expect("at least one was awaited") + 1_000;
        acknowledged.extend(fresh);

        let copy = disk.after_power_cut(&format!("power-{round}"));
        let held = list(&copy.path().join("raft"));
        let lost: Vec<&u64> = acknowledged.difference(&held).collect();
        assert!(
            lost.is_empty(),
            "round {round}, seed {seed}: {} of {} acknowledged numbers are missing, as {:?}",
            lost.len(),
            acknowledged.len(),
            &lost[..lost.len().min(5)],
        );
        disk = copy;
        if round % ROUNDS_PER_DISK == 0 {
            disk = LoopDisk::create(&format!("power-{round}-fresh"), 128);
            acknowledged.clear();
        }
    }
    eprintln!("{rounds} power cuts, {total} acknowledged numbers, none missing");
}
