//! `make bench-failover`: the same faults for keepalived in three configurations and khactl in two profiles,
//! and what a client of the address has of them.
//!
//! It judges no time: whatever the numbers are, it ends well once it has them. What must hold is
//! asserted by the tests.

mod contender;
mod fault;
mod journal;
mod keepalived;
mod khactl;
mod load;
mod picture;
mod recipe;
mod report;
mod row;
mod schedule;
mod session;
mod side;
mod target;
mod trial;
mod watcher;
mod wires;

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::{Parser, Subcommand};
use khactl_lab::measure::{micros, now_us};
use khactl_tests::{Machine, Random, put_into};

use contender::Contender;
use fault::Fault;
use journal::Journal;
use report::Report;
use row::Row;
use schedule::Wanted;

/// Trials that may fail in one run. Each costs a new cluster.
const FAILURES_MAX: usize = 5;

const DOCUMENT: &str = "failover.md";

/// Measures failovers on lab hosts of this machine; needs root, keepalived and haproxy. What was measured
/// before is kept in the journal and not measured again.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// How often everybody meets every fault
    #[arg(
        long,
        value_name = "N",
        env = "KHACTL_BENCH_ROUNDS",
        default_value_t = 20
    )]
    rounds: usize,
    /// Begin no round after so many minutes
    #[arg(long, value_name = "N", env = "KHACTL_BENCH_MINUTES")]
    minutes: Option<u64>,
    /// These faults alone
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FAULT")]
    only: Vec<Fault>,
    /// These contenders alone
    #[arg(long, value_enum, value_delimiter = ',', value_name = "CONTENDER")]
    contenders: Vec<Contender>,
    /// Where the trials are kept (default: in the cache)
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Forget what the journal has
    #[arg(long)]
    fresh: bool,
    /// Measure nothing: show what the journal has
    #[arg(long, conflicts_with = "fresh")]
    show: bool,
    /// Write failover.json and failover.svg into this folder, and the table into its failover.md
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What keepalived's fastest configuration runs on every host
    #[command(hide = true)]
    Watch { target: SocketAddr },
    /// Whether the VIP stays where it is while the machine is busy and disks stall
    Load {
        /// How long, for each profile
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// These profiles alone
        #[arg(long, value_enum, value_delimiter = ',', value_name = "CONTENDER")]
        contenders: Vec<Contender>,
        /// Write what came of it into the failover.md of this folder
        #[arg(long, value_name = "FOLDER")]
        into: Option<PathBuf>,
    },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match &arguments.command {
        Some(Command::Watch { target }) => watcher::watch(*target),
        Some(Command::Load {
            minutes,
            contenders,
            into,
        }) => load(*minutes, contenders, into.as_deref()),
        None => bench(&arguments),
    }
}

fn bench(arguments: &Arguments) -> anyhow::Result<()> {
    let machine = Machine::read();
    println!("{machine}");
    let path = arguments.journal.clone().unwrap_or_else(default_journal);
    let mut journal = Journal::open(&path, arguments.fresh)?;
    let mut whole = Ok(());
    if !arguments.show {
        whole = measure(&wanted(arguments)?, arguments.minutes, &mut journal);
    }
    let report = Report {
        machine,
        rows: Row::all(journal.trials()),
    };
    if let Some(folder) = &arguments.into {
        publish(&report, folder)?;
    }
    println!("\n{report}");
    whole.context("not everything was measured")
}

/// Both profiles, one after the other.
fn load(minutes: u64, chosen: &[Contender], into: Option<&Path>) -> anyhow::Result<()> {
    let profiles = Contender::ALL
        .into_iter()
        .filter(|one| one.is_khactl() && (chosen.is_empty() || chosen.contains(one)));
    let mut lines = String::new();
    for profile in profiles {
        let loaded = load::measure(profile, minutes)?;
        println!("{loaded}");
        // Writing into a string does not fail.
        let _ = writeln!(lines, "- {loaded}");
    }
    match into {
        None => Ok(()),
        Some(folder) => put_into(&folder.join(DOCUMENT), "load", &lines),
    }
}

fn wanted(arguments: &Arguments) -> anyhow::Result<Wanted> {
    if arguments.rounds == 0 {
        bail!("there is no round to measure: give 1 or more");
    }
    let or_all = |some: &[Contender]| {
        Contender::ALL
            .into_iter()
            .filter(|one| some.is_empty() || some.contains(one))
            .collect()
    };
    let faults = Fault::ALL
        .into_iter()
        .filter(|fault| arguments.only.is_empty() || arguments.only.contains(fault))
        .collect();
    Ok(Wanted {
        contenders: or_all(&arguments.contenders),
        faults,
        rounds: arguments.rounds,
    })
}

/// Until nothing is left. After a failure it goes on with a new cluster.
fn measure(wanted: &Wanted, minutes: Option<u64>, journal: &mut Journal) -> anyhow::Result<()> {
    let mut random = Random::seeded();
    let mut failures = 0;
    let end_us = minutes.map_or(u64::MAX, |minutes| {
        now_us() + micros(Duration::from_secs(minutes * 60))
    });
    while now_us() < end_us
        && let Some(block) = wanted.left(&journal.keys()).first()
    {
        let ended = panic::catch_unwind(AssertUnwindSafe(|| {
            session::run(block, journal, &mut random, end_us)
        }));
        let Err(error) = ended.unwrap_or_else(|_said_already| Err(anyhow!("see above"))) else {
            continue;
        };
        failures += 1;
        eprintln!("a trial failed: {error:#}");
        if failures == FAILURES_MAX {
            bail!("{failures} trials failed");
        }
    }
    Ok(())
}

fn publish(report: &Report, folder: &Path) -> anyhow::Result<()> {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write("failover.json", &report.json()?)?;
    write(
        "failover.svg",
        &picture::draw(&report.rows, &report.machine.to_string()),
    )?;
    let shown = format!("{}\n\n```\n{report}```\n", report.machine);
    put_into(&folder.join(DOCUMENT), "figures", &shown)
}

fn default_journal() -> PathBuf {
    let cache = std::env::var_os("KHACTL_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/khactl"),
        PathBuf::from,
    );
    cache.join("bench-failover/trials.jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Arguments {
        Arguments::parse_from(line.split(' '))
    }

    #[test]
    fn everything_is_wanted_by_default_and_parts_by_name() {
        let all = wanted(&parse("khactl-bench-failover --rounds 20")).unwrap();
        assert_eq!((all.contenders.len(), all.faults.len()), (5, 14));
        let part =
            "khactl-bench-failover --only host-lost,cut-off --contenders khactl-fast --rounds 3";
        let part = wanted(&parse(part)).unwrap();
        assert_eq!(part.contenders, [Contender::KhactlFast]);
        assert_eq!(part.faults, [Fault::CutOff, Fault::HostLost]);
        assert!(wanted(&parse("khactl-bench-failover --rounds 0")).is_err());
    }
}
