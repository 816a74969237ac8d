//! Load by wrk, and what it says of it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

/// One run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) port: u16,
    pub(crate) connections: u32,
    pub(crate) time: Duration,
    pub(crate) path: &'static str,
    /// A connection for every request.
    pub(crate) fresh: bool,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) per_second: f64,
    pub(crate) p99_ms: f64,
    pub(crate) bytes: f64,
    pub(crate) seconds: f64,
    pub(crate) errors: u64,
}

impl Outcome {
    pub(crate) fn requests(&self) -> f64 {
        self.per_second * self.seconds
    }

    pub(crate) fn bytes_per_second(&self) -> f64 {
        self.bytes / self.seconds
    }
}

impl Load {
    pub(crate) fn run(&self) -> anyhow::Result<Outcome> {
        let mut command = Command::new("wrk");
        command.args(["--latency", "--threads", "1", "--timeout", "10s"]);
        command.args(["--connections", &self.connections.to_string()]);
        command.args(["--duration", &format!("{}s", self.time.as_secs())]);
        if self.fresh {
            command.args(["--header", "Connection: close"]);
        }
        command.arg(format!("http://127.0.0.1:{}{}", self.port, self.path));
        let output = command.output().context("cannot run wrk")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "wrk: {text}");
        parse(&text).with_context(|| format!("wrk said nothing that is known: {text}"))
    }
}

fn parse(text: &str) -> Option<Outcome> {
    let after = |label: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| Some(line.trim().strip_prefix(label)?.trim().to_owned()))
    };
    let total = text.lines().find(|line| line.contains(" requests in "))?;
    let (_, rest) = total.split_once(" requests in ")?;
    let (seconds, read) = rest.split_once(", ")?;
    let errors = after("Socket errors:").map_or(0, |errors| {
        let numbers = errors
            .split([' ', ','])
            .filter_map(|word| word.parse::<u64>().ok());
        numbers.sum()
    });
    Some(Outcome {
        per_second: after("Requests/sec:")?.parse().ok()?,
        p99_ms: seconds_of(&after("99%")?)? * 1000.0,
        bytes: bytes_of(read.strip_suffix(" read")?)?,
        seconds: seconds_of(seconds)?,
        errors,
    })
}

fn seconds_of(text: &str) -> Option<f64> {
    of_unit(text, &[("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0)])
}

fn bytes_of(text: &str) -> Option<f64> {
    let kib = 1024.0;
    of_unit(
        text,
        &[
            ("KB", kib),
            ("MB", kib * kib),
            ("GB", kib * kib * kib),
            ("B", 1.0),
        ],
    )
}

fn of_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    units.iter().find_map(|(unit, factor)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(number * factor)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
Running 4s test @ http://127.0.0.1:811/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.27ms  500.00us   9.00ms   80.00%
    Req/Sec    50.00k     1.00k   52.00k    75.00%
  Latency Distribution
     50%    1.20ms
     99%  900.00us
  200000 requests in 4.00s, 1.50GB read
  Socket errors: connect 0, read 3, write 1, timeout 0
Requests/sec:  50000.50
Transfer/sec:    384.00MB
";

    #[test]
    fn what_wrk_says_is_understood() {
        let close = |left: f64, right: f64| (left - right).abs() < 1e-6 * right;
        let outcome = parse(SAID).unwrap();
        assert!(close(outcome.per_second, 50_000.5));
        assert!(close(outcome.p99_ms, 0.9));
        assert!(close(outcome.bytes, 1.5 * 1024.0 * 1024.0 * 1024.0));
        assert!(close(outcome.seconds, 4.0));
        assert_eq!(outcome.errors, 4);
        assert_eq!(parse("unable to connect"), None);
    }
}
