//! What supervision costs those who are supervised: the components' own processor time while khad works on every host,
//! beside as long a time while it stands still everywhere. In turns, so that whatever else the machine does meets both.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use khactl_lab::Signal;
use khactl_lab::measure::now_us;
use khactl_tests::Cluster;

use crate::figure::{Figure, Target, Unit};
use crate::milestone::seconds_between;
use crate::process::spent;

/// Of either kind. Processor time comes in hundredths of a second: one of them in it is 0.07 % of a core.
const STRETCH: Duration = Duration::from_secs(15);

/// What was under way when khad stopped comes to its end. Not measured, on either side.
const PAUSE: Duration = Duration::from_secs(1);

/// When khad goes on it elects a leader and reports what it missed. Not measured.
const SETTLE: Duration = Duration::from_secs(5);

/// Hundredths of a core that all components of all hosts took together, stretch by stretch.
#[derive(Debug, Default)]
pub(crate) struct Supervision {
    supervised: Vec<f64>,
    alone: Vec<f64>,
}

impl Supervision {
    /// So many stretches of each kind, on a cluster that nobody uses.
    pub(crate) fn measure(&mut self, cluster: &Cluster, rounds: usize) -> anyhow::Result<()> {
        for round in 1..=rounds {
            eprintln!("supervision, round {round} of {rounds}");
            let first = round % 2 == 1;
            for supervised in [first, !first] {
                if supervised {
                    self.supervised.push(stretch(cluster)?);
                    continue;
                }
                let halted = Halted::all(cluster)?;
                self.alone.push(stretch(cluster)?);
                drop(halted);
                cluster.await_ready(cluster.names().len());
                thread::sleep(SETTLE);
            }
        }
        Ok(())
    }

    pub(crate) fn figures(self) -> Vec<Figure> {
        let name = "idle: processor time of all components";
        vec![
            Figure::new(name, Unit::PercentOfCore, self.supervised)
                .beside(self.alone)
                .target(Target::WithinBeside),
        ]
    }
}

/// khad of every host, which stands still until this is dropped.
struct Halted<'a>(&'a Cluster);

impl<'a> Halted<'a> {
    fn all(cluster: &'a Cluster) -> anyhow::Result<Self> {
        let halted = Self(cluster);
        for host in cluster.lab().hosts() {
            let found = host.signal("khad", Signal::STOP);
            ensure!(found > 0, "{} runs no khad", host.name());
        }
        Ok(halted)
    }
}

impl Drop for Halted<'_> {
    fn drop(&mut self) {
        for host in self.0.lab().hosts() {
            host.signal("khad", Signal::CONT);
        }
    }
}

/// Hundredths of a core that all components of all hosts take together.
fn stretch(cluster: &Cluster) -> anyhow::Result<f64> {
    thread::sleep(PAUSE);
    let (began_us, before) = (now_us(), components(cluster)?);
    thread::sleep(STRETCH);
    let (ended_us, after) = (now_us(), components(cluster)?);
    ensure!(
        before.keys().eq(after.keys()),
        "a component ended or was started while nothing happened"
    );
    let grown: Duration = before
        .values()
        .zip(after.values())
        .map(|(before, after)| after.saturating_sub(*before))
        .sum();
    Ok(100.0 * grown.as_secs_f64() / seconds_between(began_us, ended_us))
}

/// The processor time of every component of every host, by its process.
fn components(cluster: &Cluster) -> anyhow::Result<BTreeMap<u32, Duration>> {
    let mut times = BTreeMap::new();
    for host in cluster.names() {
        for pid in cluster.component_pids(&host).into_values().flatten() {
            times.insert(pid, spent(pid)?);
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_judged_by_what_the_components_take_by_themselves() {
        let met = |supervised: &[f64]| {
            let supervision = Supervision {
                supervised: supervised.to_vec(),
                alone: vec![30.0, 31.0, 32.0],
            };
            supervision.figures()[0].met
        };
        assert_eq!(met(&[31.0, 31.9, 40.0]), Some(true));
        assert_eq!(met(&[32.1, 32.2, 32.3]), Some(false));
        assert_eq!(met(&[]), None);
    }
}
