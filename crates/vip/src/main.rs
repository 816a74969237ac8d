//! The program `khavip`. khad starts it; nobody needs to call it by hand.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use khactl_vip::error::{VipError, chain};
use khactl_vip::gate::{GateStatus, GateWatch};
use khactl_vip::hand_over::hand_over;
use khactl_vip::release::{release, remove_gate};
use khactl_vip::run::{RunOptions, run};
use tracing_subscriber::EnvFilter;

/// Holds the VIP and balances its connections, as khad tells it.
#[derive(Debug, Parser)]
#[command(name = "khavip", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs in the foreground until SIGTERM, which hands the VIP over.
    Run {
        /// A folder on tmpfs, for what must not survive a reboot.
        #[arg(long, default_value = "/run/khactl")]
        run_dir: PathBuf,
        /// The Unix socket that khad speaks to.
        #[arg(long, default_value = "/run/khactl/khavip.sock")]
        socket: PathBuf,
    },
    /// Gives back at once what a khavip held that died (khad has proof of that). Reads from its
    /// standard input what the dead one was last fed.
    Release {
        /// The dead one's folder.
        #[arg(long, default_value = "/run/khactl")]
        run_dir: PathBuf,
    },
    /// Gives the VIP up in order while the network is still up: for the host's shutdown.
    HandOver {
        /// The Unix socket of the khavip that runs.
        #[arg(long, default_value = "/run/khactl/khavip.sock")]
        socket: PathBuf,
        /// For so many seconds this host does not try to take the VIP again.
        #[arg(long, value_name = "SECONDS", default_value_t = 120)]
        rest: u64,
    },
    /// What in the kernel lets the VIP's packets pass on this host.
    Gate {
        #[command(subcommand)]
        command: GateCommand,
    },
}

#[derive(Debug, Subcommand)]
enum GateCommand {
    /// Says in one line what kind of gate this host bears, and why no better one: "bpf", or
    /// "nft: REASON", or "none: REASON". Changes nothing.
    Check,
    /// Takes it away, and the VIP before it, on a host that leaves the cluster for good.
    Remove {
        /// The folder of the khavip that made it, which must have ended.
        #[arg(long, default_value = "/run/khactl")]
        run_dir: PathBuf,
    },
}

/// More than any feed takes.
const FEED_BYTES_MAX: u64 = 1024 * 1024;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .init();
    match carry_out(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: Command) -> Result<(), VipError> {
    match command {
        Command::Run { run_dir, socket } => run(&RunOptions { run_dir, socket }),
        Command::Release { run_dir } => {
            let mut feed = Vec::new();
            std::io::stdin()
                .take(FEED_BYTES_MAX)
                .read_to_end(&mut feed)
                .map_err(|cause| VipError::Runtime {
                    doing: "reading the feed from standard input",
                    cause,
                })?;
            release(&run_dir, &feed)
        }
        Command::HandOver { socket, rest } => {
            let held = hand_over(&socket, Duration::from_secs(rest))?;
            tracing::info!(held, "this host does not hold the VIP");
            Ok(())
        }
        Command::Gate { command } => match command {
            GateCommand::Check => say(&GateWatch::check()),
            GateCommand::Remove { run_dir } => remove_gate(&run_dir),
        },
    }
}

fn say(gate: &GateStatus) -> Result<(), VipError> {
    let kind = gate.kind.name();
    let line = match gate.reason.as_str() {
        "" => kind.to_owned(),
        reason => format!("{kind}: {reason}"),
    };
    writeln!(std::io::stdout(), "{line}").map_err(|cause| VipError::Runtime {
        doing: "writing to standard output",
        cause,
    })
}
