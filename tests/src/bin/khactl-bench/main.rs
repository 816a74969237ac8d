//! `make bench`: how long a control plane takes to come up and to survive, and what it costs,
//! beside the same programs started by hand with ready certificates.
//!
//! It judges no time: whatever the numbers are, it ends well once it has them. What must hold is
//! asserted by the tests.

mod by_hand;
mod components;
mod figure;
mod forming;
mod holders;
mod https;
mod idle;
mod milestone;
mod outage;
mod process;
mod recipe;
mod report;
mod rollout;
mod servers;
mod supervision;
mod watching;

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::{Parser, ValueEnum};
use khactl_tests::{Cluster, Machine, put_into};

use components::Takeovers;
use forming::Forming;
use outage::Outages;
use report::Report;
use rollout::Rollouts;
use supervision::Supervision;
use watching::Silences;

/// Measures khactl on lab hosts of this machine; needs root. KHACTL_BENCH_ROUNDS sets the number
/// of rounds of every part (default: 5, for outages 10, for roll-outs 3).
#[derive(Debug, Parser)]
struct Arguments {
    /// Write all values to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure these parts alone
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Write the table into the bootstrap.md of this folder, if it is whole
    #[arg(long, value_name = "FOLDER", conflicts_with = "only")]
    into: Option<PathBuf>,
}

/// A part of the measurement that can run alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// init and join, beside the same by hand
    Forming,
    /// Memory and processor time of an idle cluster's own programs, and what its components spend because of them
    Idle,
    /// The VIP while a host or an agent dies
    Outage,
    /// Controller-manager and scheduler while their leaders die, API servers that die or hang, beside the same by hand
    Components,
    /// How long a watch through the VIP tells nothing while its holder meets faults
    Watch,
    /// site.yml on three prepared hosts, and the size of the package that it installs
    Rollout,
}

impl Arguments {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut report = Report::new(Machine::read());
    println!("{}", report.machine);
    let mut whole = Ok(());
    if arguments.wants(Part::Forming) {
        let mut forming = Forming::default();
        let rounds = rounds(5)?;
        whole = whole.and(caught(|| forming.measure(rounds)));
        report.figures.extend(forming.figures());
    }
    if arguments.wants(Part::Idle) || arguments.wants(Part::Outage) {
        let stretches = rounds(5)?;
        let rounds = rounds(10)?;
        let mut outages = Outages::default();
        let mut idle = Vec::new();
        let mut supervision = Supervision::default();
        whole = whole.and(caught(|| {
            let cluster = Cluster::up("bench", 3);
            if arguments.wants(Part::Idle) {
                idle = idle::measure(&cluster)?;
                supervision.measure(&cluster, stretches)?;
            }
            if arguments.wants(Part::Outage) {
                outages.measure(&cluster, rounds)?;
            }
            Ok(())
        }));
        report.figures.extend(idle);
        if arguments.wants(Part::Idle) {
            report.figures.extend(supervision.figures());
        }
        if arguments.wants(Part::Outage) {
            report.figures.extend(outages.figures());
        }
    }
    if arguments.wants(Part::Components) {
        let mut takeovers = Takeovers::default();
        let rounds = rounds(5)?;
        whole = whole.and(caught(|| takeovers.measure(rounds)));
        report.figures.extend(takeovers.figures());
    }
    if arguments.wants(Part::Watch) {
        let mut silences = Silences::default();
        let rounds = rounds(5)?;
        whole = whole.and(caught(|| {
            silences.measure(rounds);
            Ok(())
        }));
        report.figures.extend(silences.figures());
    }
    if arguments.wants(Part::Rollout) {
        let mut rollouts = Rollouts::default();
        let rounds = rounds(3)?;
        whole = whole.and(caught(|| rollouts.measure(rounds)));
        report.figures.extend(rollouts.figures());
    }
    println!("\n{report}");
    if let Some(file) = &arguments.json {
        fs::write(file, report.json()?)
            .with_context(|| format!("cannot write the figures to {}", file.display()))?;
    }
    whole.context("not everything was measured")?;
    if let Some(folder) = &arguments.into {
        let shown = format!("{}\n\n```\n{report}\n```\n", report.machine);
        put_into(&folder.join("bootstrap.md"), "figures", &shown)?;
    }
    Ok(())
}

/// Runs a part. What it had measured when it failed is shown all the same.
fn caught(part: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    panic::catch_unwind(AssertUnwindSafe(part))
        .unwrap_or_else(|_said_already| Err(anyhow!("a part ended early: see above")))
}

/// KHACTL_BENCH_ROUNDS, or the part's own number.
fn rounds(default: usize) -> anyhow::Result<usize> {
    let Ok(text) = std::env::var("KHACTL_BENCH_ROUNDS") else {
        return Ok(default);
    };
    match text.parse() {
        Ok(rounds) if rounds > 0 => Ok(rounds),
        _ => anyhow::bail!("KHACTL_BENCH_ROUNDS={text} is no number of rounds: give 1 or more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_chosen_by_name_and_all_are_wanted_by_default() {
        let parse = |line: &str| Arguments::parse_from(line.split(' '));
        let all = parse("khactl-bench");
        assert!(all.wants(Part::Forming) && all.wants(Part::Idle) && all.wants(Part::Outage));
        let two = parse("khactl-bench --only idle,outage --json out.json");
        assert!(!two.wants(Part::Forming) && two.wants(Part::Idle) && two.wants(Part::Outage));
    }
}
