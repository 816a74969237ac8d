//! A command under way, whose lines can be watched and which can be killed at one of them.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::outcome::Outcome;
use crate::wait::until;

/// One running command. Dropped, it is killed. A command inside a lab host dies with the thread that
/// started it.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    stdout: Arc<Lines>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

/// What it printed so far; whoever waits for a line wakes up with it.
#[derive(Debug, Default)]
struct Lines {
    printed: Mutex<Printed>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Printed {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn change(&self, change: impl FnOnce(&mut Printed)) {
        change(&mut lock(&self.printed));
        self.changed.notify_all();
    }
}

impl Running {
    /// Starts it; `name` is for messages.
    #[track_caller]
    pub fn start(name: &str, mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("cannot run {name}: {error}"),
        };
        let stdout = Arc::new(Lines::default());
        let stderr = Arc::new(Mutex::new(String::new()));
        let mut readers = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            let lines = Arc::clone(&stdout);
            readers.push(std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    lines.change(|printed| printed.lines.push(line));
                }
                lines.change(|printed| printed.ended = true);
            }));
        }
        if let Some(mut pipe) = child.stderr.take() {
            let text = Arc::clone(&stderr);
            readers.push(std::thread::spawn(move || {
                let mut bytes = Vec::new();
                // What a kill cut off is shown as far as it came.
                let _ = pipe.read_to_end(&mut bytes);
                lock(&text).push_str(&String::from_utf8_lossy(&bytes));
            }));
        }
        Self {
            name: name.to_owned(),
            child,
            stdout,
            stderr,
            readers,
        }
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.stdout.printed).lines.clone()
    }

    /// Waits for a line; whether it came, or else its output ended without it. Returns at once: what is
    /// told to begin may be over a millisecond later. Panics if neither happens `within` that time.
    #[track_caller]
    pub fn shows(&self, within: Duration, line: impl Fn(&str) -> bool) -> bool {
        let shown = |printed: &Printed| printed.lines.iter().any(|text| line(text));
        let waited =
            self.stdout
                .changed
                .wait_timeout_while(lock(&self.stdout.printed), within, |printed| {
                    !printed.ended && !shown(printed)
                });
        let (printed, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let found = shown(&printed);
        assert!(
            found || printed.ended,
            "waited {} s in vain for a line of {}: {:?}",
            within.as_secs(),
            self.name,
            printed.lines
        );
        found
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits for its end; panics if it takes longer than `within`.
    #[track_caller]
    pub fn wait(mut self, within: Duration) -> Outcome {
        let status = until(&format!("{} ends", self.name), within, || {
            self.child.try_wait().ok().flatten()
        });
        for reader in self.readers.drain(..) {
            // It only fails if it panicked; what it read is there still.
            let _ = reader.join();
        }
        Outcome {
            command: self.name.clone(),
            code: status.code(),
            stdout: self.lines().join("\n"),
            stderr: lock(&self.stderr).clone(),
        }
    }

    /// Kills it as the kernel does, without a word.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already says so, and that is all right.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Running {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Running::start("the script", command)
    }

    #[test]
    fn the_end_of_a_command_is_told_with_both_its_outputs() {
        let outcome = shell("echo one; echo two; echo wrong >&2; exit 3").wait(crate::SOON);
        assert_eq!(outcome.code, Some(3));
        assert_eq!(outcome.stdout, "one\ntwo");
        assert_eq!(outcome.stderr, "wrong\n");
    }

    #[test]
    fn a_command_is_met_at_a_line_and_killed_there() {
        let mut running = shell("echo here; exec sleep 1000");
        assert!(running.shows(crate::SOON, |line| line == "here"));
        assert_eq!(running.lines(), ["here"]);
        assert!(!running.has_ended());
        running.kill();
    }

    #[test]
    fn a_line_is_not_waited_for_once_the_output_has_ended() {
        let running = shell("echo here");
        assert!(!running.shows(crate::SOON, |line| line == "there"));
        assert!(running.shows(crate::SOON, |line| line == "here"));
    }
}
