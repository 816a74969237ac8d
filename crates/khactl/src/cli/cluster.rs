//! What is asked of a cluster that runs, and changed in it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::timespan;

/// `khactl operation …`
#[derive(Debug, Subcommand)]
pub enum OperationCommand {
    /// Show all operations, newest first
    List,
    /// Show an operation with its steps
    Show {
        /// As `khactl operation list` shows it
        #[arg(value_name = "ID")]
        id: u64,
    },
    /// Give up a removal that is not past its point of no return: the host stays
    Abort {
        /// As `khactl operation list` shows it
        #[arg(value_name = "ID")]
        id: u64,
    },
}

/// `khactl status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Show it anew every second until interrupted
    #[arg(short, long)]
    pub watch: bool,
}

/// `khactl vip …`
#[derive(Debug, Subcommand)]
pub enum VipCommand {
    /// Hand it over to a host, and wait until that holds it
    Transfer(TransferArgs),
    /// Where this host's balancer sends connections, and how many there were
    Backends,
}

/// `khactl leader …`
#[derive(Debug, Subcommand)]
pub enum LeaderCommand {
    /// Hand the leadership over to a host, and wait until that leads
    Transfer(TransferArgs),
}

/// `khactl vip transfer` and `khactl leader transfer`
#[derive(Debug, Args)]
pub struct TransferArgs {
    /// The host that is to have it
    pub host: String,
    /// How long to wait until it has it
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = timespan::parse)]
    pub timeout: Duration,
}

/// `khactl config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the spec in force, with every default written out
    Show,
    /// Show what a spec would change, and what of it cannot be changed while the cluster runs
    Diff {
        /// The spec
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Put a spec in force
    Apply {
        /// The spec
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
        /// Check and show, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Show the revisions that are kept, newest first
    History,
    /// Put an earlier revision in force again, as a new one
    Rollback {
        /// As `khactl config history` shows it
        #[arg(value_name = "REVISION")]
        revision: u64,
    },
}

/// `khactl kubeconfig`
#[derive(Debug, Args)]
pub struct KubeconfigArgs {
    /// The user it is for [default: kubernetes-admin]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
}

/// `khactl logs`
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// etcd, kube-apiserver, kube-controller-manager, kube-scheduler or khavip
    pub component: String,
    /// Go on as the log grows
    #[arg(short, long)]
    pub follow: bool,
    /// The last lines to begin with [default: 100; with --since all since then]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub lines: Option<u32>,
    /// Only what is not older, as 90s, 10m or 2h
    #[arg(long, value_name = "TIME", value_parser = timespan::parse)]
    pub since: Option<Duration>,
    /// On which host [default: the one asked]
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
}
