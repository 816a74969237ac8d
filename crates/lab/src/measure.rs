//! What a cluster gives its users, as samples: connections, writes and reads made from the
//! client, each with its time.
//!
//! The samples come from `khactl lab probe` and `khactl lab write`, which run inside the client
//! and print one JSON line for each. Times are CLOCK_BOOTTIME, which all namespaces of a machine
//! share, so that samples and the events of a test can be compared.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{LabError, Result};

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SampleKind {
    /// A new TCP connection.
    Connect,
    /// A ConfigMap created.
    Write,
    /// A ConfigMap read.
    Read,
}

/// One try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// What was tried.
    pub kind: SampleKind,
    /// When it began, in microseconds since boot.
    pub at_us: u64,
    /// How long it took, in microseconds.
    pub took_us: u64,
    /// Whether it succeeded; for a write: whether it was acknowledged.
    pub ok: bool,
    /// The ConfigMap's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

impl Sample {
    /// When it ended, in microseconds since boot.
    pub fn done_us(&self) -> u64 {
        self.at_us.saturating_add(self.took_us)
    }

    /// Whether it failed by what happened between two moments. By its beginning, not by its end: what failed of an
    /// outage may be given up long after it. What was open at the first moment had begun a little before.
    pub fn failed_by(&self, from_us: u64, to_us: u64) -> bool {
        let met_us = self.at_us.saturating_add(OPEN_US);
        !self.ok && (from_us..to_us).contains(&met_us)
    }
}

/// The samples' clock, in microseconds since boot.
pub fn now_us() -> u64 {
    micros(khactl_sys::clock::boottime())
}

/// Whole microseconds.
pub fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Longer than any try lasts that nothing befalls, in microseconds.
const OPEN_US: u64 = 10_000;

/// What users had between two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Tries that ended well.
    pub ok: usize,
    /// Tries that did not.
    pub failed: usize,
    /// The longest time without a success, in microseconds: the outage.
    pub gap_us: u64,
}

/// Counts the tries of a kind that ended well between `from_us` and `to_us`, and those that failed by what happened
/// then. The gap may begin with the last success before, and ends at `to_us` if none came after.
pub fn tally(samples: &[Sample], kind: SampleKind, from_us: u64, to_us: u64) -> Tally {
    let of_kind = || samples.iter().filter(|sample| sample.kind == kind);
    let within = |sample: &&Sample| (from_us..=to_us).contains(&sample.done_us());
    let mut successes: Vec<u64> = of_kind()
        .filter(|sample| sample.ok)
        .filter(within)
        .map(Sample::done_us)
        .collect();
    successes.sort_unstable();
    let before = of_kind()
        .filter(|sample| sample.ok && sample.done_us() < from_us)
        .map(Sample::done_us)
        .max()
        .unwrap_or(from_us);
    let ok = successes.len();
    let mut gap_us = 0;
    let mut last = before;
    for success in successes.into_iter().chain([to_us]) {
        gap_us = gap_us.max(success.saturating_sub(last));
        last = success;
    }
    Tally {
        ok,
        failed: of_kind()
            .filter(|sample| sample.failed_by(from_us, to_us))
            .count(),
        gap_us,
    }
}

/// A running `khactl lab probe` or `khactl lab write`. Dropped, it is killed.
#[derive(Debug)]
pub struct Measurement {
    child: Child,
    samples: Arc<Mutex<Vec<Sample>>>,
    reader: Option<JoinHandle<()>>,
}

impl Measurement {
    /// Starts the command, most often made by [`crate::LabHost::exec`] of the client. Call it from
    /// a thread that lives as long as the measurement: a lab's command dies with its thread.
    pub fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| LabError::Spawn {
                program: format!("{command:?}"),
                source,
            })?;
        let samples = Arc::new(Mutex::new(Vec::new()));
        let reader = child.stdout.take().map(|stdout| {
            let samples = Arc::clone(&samples);
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(io_ok) {
                    // A line cut off by a kill is no sample.
                    if let Ok(sample) = serde_json::from_str(&line) {
                        lock(&samples).push(sample);
                    }
                }
            })
        });
        Ok(Self {
            child,
            samples,
            reader,
        })
    }

    /// The samples so far, in the order in which the tries ended.
    pub fn samples(&self) -> Vec<Sample> {
        lock(&self.samples).clone()
    }

    /// How many tries of this kind have succeeded that began after this moment.
    pub fn successes_since(&self, kind: SampleKind, from_us: u64) -> usize {
        lock(&self.samples)
            .iter()
            .rev()
            .filter(|sample| sample.kind == kind && sample.ok && sample.at_us >= from_us)
            .count()
    }

    /// Ends it in order: what it has begun it finishes. Gives all samples.
    pub fn stop(mut self) -> Result<Vec<Sample>> {
        drop(self.child.stdin.take());
        if let Some(reader) = self.reader.take() {
            // It only fails if it panicked; then its samples are there still.
            let _ = reader.join();
        }
        let ended = self.child.wait().map_err(|source| LabError::Spawn {
            program: "the measurement".into(),
            source,
        })?;
        if !ended.success() {
            return Err(LabError::Tool {
                command: "the measurement in the client".into(),
                output: ended.to_string(),
            });
        }
        Ok(self.samples())
    }
}

impl Drop for Measurement {
    fn drop(&mut self) {
        // After `stop` it has ended already, and both say so.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn io_ok(line: std::io::Result<String>) -> Option<String> {
    line.ok()
}

fn lock(samples: &Mutex<Vec<Sample>>) -> std::sync::MutexGuard<'_, Vec<Sample>> {
    samples.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(at_us: u64, took_us: u64, ok: bool) -> Sample {
        Sample {
            kind: SampleKind::Connect,
            at_us,
            took_us,
            ok,
            name: String::new(),
            error: String::new(),
        }
    }

    #[test]
    fn outage_is_the_longest_time_between_two_successes() {
        let samples = [
            connect(90_000, 5_000, true),
            connect(100_000, 5_000, true),
            connect(110_000, 300_000, false),
            connect(600_000, 10_000, true),
            connect(650_000, 10_000, true),
        ];
        let counted = tally(&samples, SampleKind::Connect, 101_000, 700_000);
        assert_eq!((counted.ok, counted.failed), (3, 1));
        assert_eq!(counted.gap_us, 610_000 - 105_000);
        assert_eq!(
            tally(&samples, SampleKind::Write, 101_000, 700_000),
            Tally {
                gap_us: 599_000,
                ..Tally::default()
            }
        );
    }

    #[test]
    fn a_try_that_is_given_up_after_an_outage_belongs_to_the_outage() {
        let ms = |ms: u64| ms * 1000;
        let samples = [
            connect(ms(95), ms(300), false),
            connect(ms(200), ms(300), false),
            connect(ms(350), ms(1), true),
        ];
        let failed = |from, to| tally(&samples, SampleKind::Connect, ms(from), ms(to)).failed;
        assert_eq!(
            (failed(0, 100), failed(100, 400), failed(400, 900)),
            (0, 2, 0)
        );
    }

    #[test]
    fn outage_may_begin_before_the_window_and_last_beyond_it() {
        let samples = [connect(10, 0, true), connect(400, 0, true)];
        assert_eq!(tally(&samples, SampleKind::Connect, 200, 300).gap_us, 290);
    }

    #[test]
    fn measurement_reads_the_lines_of_its_command() {
        let line = serde_json::to_string(&connect(7, 3, true)).unwrap();
        let mut command = Command::new("sh");
        command.args([
            "-c",
            &format!("echo '{line}'; echo nonsense; cat >/dev/null"),
        ]);
        let samples = Measurement::start(command).unwrap().stop().unwrap();
        assert_eq!(samples, [connect(7, 3, true)]);
    }

    #[test]
    fn measurement_that_fails_says_so() {
        let mut command = Command::new("sh");
        command.args(["-c", "exit 3"]);
        assert!(Measurement::start(command).unwrap().stop().is_err());
    }
}
