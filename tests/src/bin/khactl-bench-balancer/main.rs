//! `make bench-balancer`: khavip's balancer beside haproxy in mode tcp, over the same backends, in turns.
//!
//! Everything runs in a network namespace of its own, on loopback, and shares the machine's cores. It judges nothing: a
//! target that is missed is shown as missed.

mod backend;
mod contender;
mod idle;
mod process;
mod report;
mod wrk;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use khactl_tests::{Machine, put_into};

use backend::Backends;
use contender::{Contender, Proxy};
use report::{Figure, Report};
use wrk::{Load, Outcome};

/// Makes a namespace fit for it: loopback up, ports for some hundred thousand connections, and no wait for them.
const PREPARE: &str = "\
ip link set lo up
echo '1024 65000' >/proc/sys/net/ipv4/ip_local_port_range
echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse
echo 4096 >/proc/sys/net/core/somaxconn
exec \"$@\"";

/// Connections of one client at a time, enough to keep a balancer busy.
const CONNECTIONS: u32 = 64;
/// Long answers keep it busy with fewer.
const CONNECTIONS_OF_LONG: u32 = 8;
/// Connections that lie idle: as many as a process may have where the limit of open files is 20,000. Each takes two of
/// a balancer's, and two of this process's.
const IDLE: u32 = 9_500;

/// Measures khavip's balancer beside haproxy; needs root, haproxy and wrk.
#[derive(Debug, Parser)]
struct Arguments {
    /// Of every measurement
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Of every load
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Write all values to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table into the balancer.md of this folder
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
    /// The namespace is made already.
    #[arg(long, hide = true)]
    inside: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if !arguments.inside {
        return Err(enter());
    }
    let machine = Machine::read();
    println!("{machine}");
    let _backends = Backends::start()?;
    let mut measured = Measured::default();
    for round in 1..=arguments.rounds {
        // Who comes first has a cooler machine: in turns.
        let mut order = Contender::ALL;
        if round % 2 == 0 {
            order.reverse();
        }
        for contender in order {
            eprintln!("round {round}: {}", contender.name());
            measured.round(contender, Duration::from_secs(arguments.seconds))?;
        }
    }
    let report = Report {
        machine,
        figures: measured.figures,
    };
    println!("\n{report}");
    if let Some(file) = &arguments.json {
        fs::write(file, report.json()?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(folder) = &arguments.into {
        let shown = format!("{}\n\n```\n{report}\n```\n", report.machine);
        put_into(&folder.join("balancer.md"), "figures", &shown)?;
    }
    Ok(())
}

/// Becomes itself in a network namespace of its own; gives back why not.
fn enter() -> anyhow::Error {
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(error) => return error.into(),
    };
    let error = Command::new("unshare")
        .args(["--net", "sh", "-ec", PREPARE, "sh"])
        .arg(own)
        .args(std::env::args_os().skip(1))
        .arg("--inside")
        .exec();
    anyhow::Error::new(error).context("cannot run unshare")
}

/// What came of a load, and what processor time the balancer took for it.
fn costing(proxy: &Proxy, load: Load) -> anyhow::Result<(Outcome, Duration)> {
    let before = proxy.spent()?;
    let outcome = load.run()?;
    Ok((outcome, proxy.spent()?.saturating_sub(before)))
}

/// All values so far.
struct Measured {
    figures: Vec<Figure>,
}

impl Default for Measured {
    fn default() -> Self {
        Self {
            figures: Figure::all(),
        }
    }
}

impl Measured {
    fn round(&mut self, contender: Contender, time: Duration) -> anyhow::Result<()> {
        let proxy = Proxy::start(contender)?;
        let load = Load {
            port: contender.port(),
            connections: CONNECTIONS,
            time,
            path: "/",
            fresh: false,
        };
        let (kept, for_kept) = costing(&proxy, load)?;
        let each = Load {
            fresh: true,
            ..load
        };
        let (fresh, for_fresh) = costing(&proxy, each)?;
        let of_long = Load {
            connections: CONNECTIONS_OF_LONG,
            path: backend::LONG_PATH,
            ..load
        };
        let (long, for_long) = costing(&proxy, of_long)?;
        drop(proxy);
        // A process that has served nobody else: memory that came with load stays in most allocators.
        let proxy = Proxy::start(contender)?;
        let idle = idle::hold(contender.port(), IDLE, || proxy.resident_mib())?;
        let idle = idle * 10_000.0 / f64::from(IDLE);
        let gib = long.bytes / 1024.0 / 1024.0 / 1024.0;
        let values = [
            kept.per_second,
            kept.p99_ms,
            for_kept.as_secs_f64() * 1e6 / kept.requests(),
            fresh.per_second,
            fresh.p99_ms,
            for_fresh.as_secs_f64() * 1e6 / fresh.requests(),
            long.bytes_per_second() / 1024.0 / 1024.0,
            for_long.as_secs_f64() / gib,
            idle,
        ];
        for (figure, value) in self.figures.iter_mut().zip(values) {
            eprintln!("  {:44} {value:.2}", figure.name);
            figure.of(contender).push(value);
        }
        let failed = kept.errors + fresh.errors + long.errors;
        if failed > 0 {
            eprintln!("  {failed} errors");
        }
        Ok(())
    }
}
