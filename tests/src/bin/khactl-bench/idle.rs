//! What khactl's own programs cost on every host of a cluster that nobody uses.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use khactl_lab::LabHost;
use khactl_lab::measure::now_us;
use khactl_sys::process_stat::ProcessStat;
use khactl_tests::Cluster;

use crate::figure::{Figure, Target, Unit};
use crate::milestone::seconds_between;

/// A cluster that has just formed still settles: controllers fill their caches, balancers see the last
/// hosts. Not measured.
const SETTLE: Duration = Duration::from_secs(20);

/// At a hundredth of a second per tick, a tick in it is 0.03 % of a core.
const WINDOW: Duration = Duration::from_secs(30);

/// Linux counts processor time for programs in hundredths of a second, whatever its own tick.
const TICKS_PER_S: f64 = 100.0;

const KHAD_MIB_MAX: f64 = 60.0;
const KHAVIP_MIB_MAX: f64 = 15.0;
const CPU_PERCENT_MAX: f64 = 2.0;

/// The processor time of one host's two programs at a moment.
struct Spent {
    at_us: u64,
    ticks: u64,
}

/// One value for each host.
pub(crate) fn measure(cluster: &Cluster) -> anyhow::Result<Vec<Figure>> {
    eprintln!("idle: {} s", (SETTLE + WINDOW).as_secs());
    thread::sleep(SETTLE);
    let before = spent_by_all(cluster)?;
    thread::sleep(WINDOW);
    let after = spent_by_all(cluster)?;
    let percents = before
        .iter()
        .zip(&after)
        .map(|(before, after)| {
            // A window's fit: each core spends a hundred in a second.
            let ticks = u32::try_from(after.ticks.saturating_sub(before.ticks)).unwrap_or(u32::MAX);
            let cpu_s = f64::from(ticks) / TICKS_PER_S;
            100.0 * cpu_s / seconds_between(before.at_us, after.at_us)
        })
        .collect();
    let resident = |program: &str| -> anyhow::Result<Vec<f64>> {
        cluster
            .lab()
            .hosts()
            .iter()
            .map(|host| resident_mib(the_one(host, program)?))
            .collect()
    };
    Ok(vec![
        Figure::new("idle: memory of khad", Unit::Mebibytes, resident("khad")?)
            .target(Target::ValueMax(KHAD_MIB_MAX)),
        Figure::new(
            "idle: memory of khavip",
            Unit::Mebibytes,
            resident("khavip")?,
        )
        .target(Target::ValueMax(KHAVIP_MIB_MAX)),
        Figure::new(
            "idle: processor time of both",
            Unit::PercentOfCore,
            percents,
        )
        .target(Target::ValueMax(CPU_PERCENT_MAX)),
    ])
}

fn spent_by_all(cluster: &Cluster) -> anyhow::Result<Vec<Spent>> {
    cluster
        .lab()
        .hosts()
        .iter()
        .map(|host| {
            let mut ticks = 0;
            for program in ["khad", "khavip"] {
                ticks += spent_ticks(the_one(host, program)?)?;
            }
            Ok(Spent {
                at_us: now_us(),
                ticks,
            })
        })
        .collect()
}

/// The number of the only process of a program.
fn the_one(host: &LabHost, program: &str) -> anyhow::Result<u32> {
    let found = host.processes_named(program);
    ensure!(
        found.len() == 1,
        "{} runs {program} {} times",
        host.name(),
        found.len()
    );
    Ok(found[0].pid)
}

fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kib = resident_kib(&status).with_context(|| format!("{path} has no VmRSS"))?;
    Ok(f64::from(kib) / 1024.0)
}

fn resident_kib(status: &str) -> Option<u32> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn spent_ticks(pid: u32) -> anyhow::Result<u64> {
    ProcessStat::of(pid)
        .map(|stat| stat.spent_ticks)
        .with_context(|| format!("/proc/{pid}/stat tells no times"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_a_status() {
        assert_eq!(
            resident_kib("VmHWM:\t  9 kB\nVmRSS:\t  62496 kB\n"),
            Some(62496)
        );
        assert_eq!(resident_kib("Name:\tkhad\n"), None);
    }
}
