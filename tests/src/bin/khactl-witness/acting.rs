//! Acting: a line in a file every other millisecond, from a thread that knows nothing of the election, as controllers
//! know nothing of it.

use std::fs::OpenOptions;
use std::io::Write;
use std::process;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use khactl_sys::clock;
use khactl_tests::acting::{record, records};

/// Short against everything that could overlap.
const EVERY: Duration = Duration::from_millis(2);

/// Acts from now on until the process ends.
pub(crate) fn begin(component: &str, identity: String) -> anyhow::Result<()> {
    let path = records(component);
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot write {path}"))?;
    let pid = process::id();
    thread::spawn(move || {
        loop {
            let line = record(clock::monotonic(), &identity, pid);
            if let Err(error) = file.write_all(line.as_bytes()) {
                // One that acts unseen proves nothing.
                eprintln!("cannot write {path}: {error}");
                process::exit(1);
            }
            thread::sleep(EVERY);
        }
    });
    Ok(())
}
