//! What khactl's own programs cost on every host of a cluster that nobody uses. khad is judged; khavip, which moves the
//! traffic, is shown beside it.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use khactl_lab::LabHost;
use khactl_lab::measure::now_us;
use khactl_tests::Cluster;

use crate::figure::{Figure, Target, Unit};
use crate::milestone::seconds_between;
use crate::process::{resident_mib, spent};

/// A cluster that has just formed still settles: controllers fill their caches, balancers see the last
/// hosts. Not measured.
const SETTLE: Duration = Duration::from_secs(20);

/// Processor time comes in hundredths of a second: one of them in it is 0.03 % of a core.
const WINDOW: Duration = Duration::from_secs(30);

const KHAD_MIB_MAX: f64 = 50.0;
const KHAD_CPU_PERCENT_MAX: f64 = 1.0;

const PROGRAMS: [&str; 2] = ["khad", "khavip"];

/// The processor time of one program of one host at a moment.
struct Spent {
    at_us: u64,
    time: Duration,
}

/// By host and program.
type SpentByAll = BTreeMap<(String, &'static str), Spent>;

/// One value for each host.
pub(crate) fn measure(cluster: &Cluster) -> anyhow::Result<Vec<Figure>> {
    eprintln!("idle: {} s", (SETTLE + WINDOW).as_secs());
    thread::sleep(SETTLE);
    let before = spent_by_all(cluster)?;
    thread::sleep(WINDOW);
    let after = spent_by_all(cluster)?;
    let mut figures = Vec::new();
    for program in PROGRAMS {
        let resident: anyhow::Result<Vec<f64>> = cluster
            .lab()
            .hosts()
            .iter()
            .map(|host| resident_mib(the_one(host, program)?))
            .collect();
        let memory = Figure::new(
            &format!("idle: memory of {program}"),
            Unit::Mebibytes,
            resident?,
        );
        let processor = Figure::new(
            &format!("idle: processor time of {program}"),
            Unit::PercentOfCore,
            percents(program, &before, &after),
        );
        if program == "khad" {
            figures.push(memory.target(Target::ValueMax(KHAD_MIB_MAX)));
            figures.push(processor.target(Target::ValueMax(KHAD_CPU_PERCENT_MAX)));
        } else {
            figures.extend([memory, processor]);
        }
    }
    Ok(figures)
}

/// Of one program, host by host.
fn percents(program: &str, before: &SpentByAll, after: &SpentByAll) -> Vec<f64> {
    before
        .iter()
        .filter(|((_, name), _)| *name == program)
        .filter_map(|(key, before)| Some((before, after.get(key)?)))
        .map(|(before, after)| {
            let spent = after.time.saturating_sub(before.time);
            100.0 * spent.as_secs_f64() / seconds_between(before.at_us, after.at_us)
        })
        .collect()
}

fn spent_by_all(cluster: &Cluster) -> anyhow::Result<SpentByAll> {
    let mut by_all = SpentByAll::new();
    for host in cluster.lab().hosts() {
        for program in PROGRAMS {
            let time = spent(the_one(host, program)?)?;
            let at_us = now_us();
            by_all.insert((host.name().to_owned(), program), Spent { at_us, time });
        }
    }
    Ok(by_all)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_is_counted_by_itself_host_by_host() {
        let of = |host: &str, program, at_us, ms| {
            let time = Duration::from_millis(ms);
            ((host.to_owned(), program), Spent { at_us, time })
        };
        let before = SpentByAll::from([
            of("cp1", "khad", 0, 1000),
            of("cp1", "khavip", 0, 7000),
            of("cp2", "khad", 10, 0),
        ]);
        let after = SpentByAll::from([
            of("cp1", "khad", 10_000_000, 1100),
            of("cp1", "khavip", 10_000_000, 7500),
            of("cp2", "khad", 10_000_010, 200),
        ]);
        let close = |found: Vec<f64>, expected: &[f64]| {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-9, "{found}");
            }
        };
        close(percents("khad", &before, &after), &[1.0, 2.0]);
        close(percents("khavip", &before, &after), &[5.0]);
    }
}
