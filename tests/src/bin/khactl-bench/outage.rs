//! What a user of the VIP notices: a fresh connection every 2 ms from outside, while a host loses power
//! and comes back, and while an agent alone dies.

use std::thread;
use std::time::Duration;

use khactl_lab::measure::{Measurement, SampleKind, Tally, now_us, tally};
use khactl_lab::{LabError, VIP};
use khactl_tests::{Cluster, SOON, until};

use crate::figure::{Figure, Target, Unit};

const HOSTS: usize = 3;

/// Connections that must succeed before an event and after it: it is over when so many do.
const CONNECTS: usize = 250;

/// As long as killing an agent and starting it again may take, for comparison.
const QUIET: Duration = Duration::from_secs(2);

/// With the lease of profile `lan`.
const HOST_LOSS_MS_MAX: f64 = 400.0;

/// What the rounds gave so far.
#[derive(Debug, Default)]
pub(crate) struct Outages {
    host_loss_ms: Vec<f64>,
    host_return_ms: Vec<f64>,
    agent_ms: Vec<f64>,
    agent_failed: Vec<f64>,
    agent_pause_ms: Vec<f64>,
    quiet_pause_ms: Vec<f64>,
}

impl Outages {
    /// So many lost hosts and so many killed agents.
    pub(crate) fn measure(&mut self, cluster: &Cluster, rounds: usize) -> anyhow::Result<()> {
        for round in 1..=rounds {
            eprintln!("outages, round {round} of {rounds}");
            agent_alone(cluster, self)?;
            host(cluster, self)?;
        }
        Ok(())
    }

    pub(crate) fn figures(self) -> Vec<Figure> {
        let ms = |name, values| Figure::new(name, Unit::Milliseconds, values);
        vec![
            ms("VIP outage: its host dies", self.host_loss_ms)
                .target(Target::ValueMax(HOST_LOSS_MS_MAX)),
            ms("VIP outage: that host comes back", self.host_return_ms),
            ms("VIP outage: its khad dies and starts", self.agent_ms).target(Target::ValueMax(0.0)),
            Figure::new(
                "  connections that failed meanwhile",
                Unit::Count,
                self.agent_failed,
            ),
            ms(
                "  longest time between two connections",
                self.agent_pause_ms,
            ),
            ms("  the same while nothing happens", self.quiet_pause_ms),
        ]
    }
}

/// The holder's agent dies and is started again; before it, as long a time without any event.
fn agent_alone(cluster: &Cluster, outages: &mut Outages) -> anyhow::Result<()> {
    let holder = cluster.holder();
    let probe = start(cluster)?;
    await_connects(&probe);
    let quiet_us = now_us();
    thread::sleep(QUIET);
    await_connects(&probe);
    let killed_us = now_us();
    cluster.kill_agent(&holder);
    cluster.start_agent(&holder);
    until(&format!("khad of {holder} follows or leads"), SOON, || {
        cluster.status(&holder)?.leader
    });
    await_connects(&probe);
    let over_us = now_us();
    let samples = probe.stop()?;
    let quiet = tally(&samples, SampleKind::Connect, quiet_us, killed_us);
    let event = tally(&samples, SampleKind::Connect, killed_us, over_us);
    outages.quiet_pause_ms.push(ms(quiet.gap_us));
    outages.agent_pause_ms.push(ms(event.gap_us));
    outages.agent_ms.push(outage_ms(&event));
    outages
        .agent_failed
        .push(f64::from(u32::try_from(event.failed)?));
    cluster.await_ready(HOSTS);
    Ok(())
}

/// The holder's host loses power, and gets it back once another one serves.
fn host(cluster: &Cluster, outages: &mut Outages) -> anyhow::Result<()> {
    let holder = cluster.holder();
    let probe = start(cluster)?;
    await_connects(&probe);
    let killed_us = now_us();
    carried(cluster.lab().kill(&holder));
    await_connects(&probe);
    let back_us = now_us();
    carried(cluster.lab().start(&holder));
    cluster.await_ready(HOSTS);
    await_connects(&probe);
    let over_us = now_us();
    let samples = probe.stop()?;
    let loss = tally(&samples, SampleKind::Connect, killed_us, back_us);
    let comeback = tally(&samples, SampleKind::Connect, back_us, over_us);
    outages.host_loss_ms.push(outage_ms(&loss));
    outages.host_return_ms.push(outage_ms(&comeback));
    Ok(())
}

/// A host that does not do what it is told is shown with all that is known of its cluster.
#[track_caller]
fn carried(told: Result<(), LabError>) {
    if let Err(error) = told {
        panic!("{error}");
    }
}

/// `khactl lab probe` in the client.
fn start(cluster: &Cluster) -> anyhow::Result<Measurement> {
    let mut command = cluster.lab().client().exec("khactl")?;
    command.args(["lab", "probe", "--target", &format!("{VIP}:6443")]);
    Ok(Measurement::start(command)?)
}

/// Waits for connections that begin from now on.
fn await_connects(probe: &Measurement) {
    let from_us = now_us();
    until("connections to the VIP succeed", SOON, || {
        (probe.successes_since(SampleKind::Connect, from_us) >= CONNECTS).then_some(())
    });
}

/// The longest time without a success, if anything failed in it at all: otherwise it is the pace of the
/// probe that shows.
fn outage_ms(event: &Tally) -> f64 {
    if event.failed == 0 {
        0.0
    } else {
        ms(event.gap_us)
    }
}

fn ms(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_probe_alone_is_no_outage() {
        let slow = Tally {
            ok: 900,
            failed: 0,
            gap_us: 31_000,
        };
        assert!(outage_ms(&slow) < f64::EPSILON);
        let broken = Tally { failed: 3, ..slow };
        assert!((outage_ms(&broken) - 31.0).abs() < 1e-9);
    }
}
