//! `khactl lab probe`: a fresh TCP connection every few milliseconds.
//!
//! A try does not wait for those before it, so the first one after an outage is seen at once.

use std::net::SocketAddr;
use std::time::Duration;

use khactl_lab::measure::{Sample, SampleKind, now_us};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::until_closed::until_closed;
use crate::cli::LabProbeArgs;
use crate::failure::{Failure, chain};
use crate::output::line;

/// Longer than any healthy connect on a switch; bounds how many tries are open at once.
const TIMEOUT: Duration = Duration::from_millis(300);

pub(super) async fn run(args: &LabProbeArgs) -> Result<(), Failure> {
    let mut tick = tokio::time::interval(Duration::from_millis(args.every_ms));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut tries = JoinSet::new();
    let mut closed = std::pin::pin!(until_closed());
    loop {
        tokio::select! {
            _ = tick.tick() => {
                tries.spawn(try_once(args.target));
            }
            Some(sample) = tries.join_next() => show(sample)?,
            () = &mut closed => break,
        }
    }
    // What was begun is told too: each ends within the timeout.
    while let Some(sample) = tries.join_next().await {
        show(sample)?;
    }
    Ok(())
}

fn show(sample: Result<Sample, tokio::task::JoinError>) -> Result<(), Failure> {
    match sample {
        Ok(sample) => line(&json(&sample)),
        // A try neither panics nor is it cancelled.
        Err(_) => Ok(()),
    }
}

async fn try_once(target: SocketAddr) -> Sample {
    let at_us = now_us();
    let error = match tokio::time::timeout(TIMEOUT, TcpStream::connect(target)).await {
        Ok(Ok(stream)) => {
            // Closed by a reset: no port of the client stays in TIME_WAIT.
            let _ = stream.set_zero_linger();
            String::new()
        }
        Ok(Err(error)) => chain(&error),
        Err(_) => "no answer".into(),
    };
    Sample {
        kind: SampleKind::Connect,
        at_us,
        took_us: now_us().saturating_sub(at_us),
        ok: error.is_empty(),
        name: String::new(),
        error,
    }
}

/// A sample as the one line that readers of a measurement expect.
pub(super) fn json(sample: &Sample) -> String {
    // Numbers, flags and strings always have a JSON form.
    serde_json::to_string(sample).unwrap_or_default()
}
