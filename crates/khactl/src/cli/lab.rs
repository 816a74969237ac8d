//! Labs.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `khactl lab …`
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Bring up a cluster of lab hosts: boot, init, join
    Up(LabUpArgs),
    /// Show a lab's hosts
    Status(LabName),
    /// Run a command in a lab host, or in the machine outside the cluster (`client`)
    Exec(LabExecArgs),
    /// Cut a host from all others, or from one
    Cut(LabCutArgs),
    /// Undo a host's cuts
    Heal(LabHostArgs),
    /// Cut a host's power
    Kill(LabHostArgs),
    /// Boot a host that is off
    Start(LabHostArgs),
    /// Make a host stand still, as a machine that hangs
    Pause(LabHostArgs),
    /// Let a paused host go on
    Resume(LabHostArgs),
    /// Take a lab down, disks included
    Down(LabName),
    /// Bring up three hosts, kill the VIP's holder and the leader under load, print the outage
    Demo(LabDemoArgs),
    /// Open connections to an address and print one JSON line for each, until stdin closes
    #[command(hide = true)]
    Probe(LabProbeArgs),
    /// Write and read ConfigMaps and print one JSON line for each, until stdin closes
    #[command(hide = true)]
    Write(LabWriteArgs),
    /// Look whether every write that `lab write` saw acknowledged is there
    #[command(hide = true)]
    Verify(LabVerifyArgs),
}

/// Which lab.
#[derive(Debug, Clone, Args)]
pub struct LabName {
    /// The lab's name
    #[arg(long, value_name = "LAB", default_value = "lab")]
    pub name: String,
}

/// `khactl lab up`
#[derive(Debug, Clone, Args)]
pub struct LabUpArgs {
    /// Which lab
    #[command(flatten)]
    pub lab: LabName,
    /// Control-plane hosts
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    pub hosts: usize,
    /// The bundle's folder [default: what `make kube` built]
    #[arg(
        long,
        value_name = "DIR",
        env = "KHACTL_BUNDLE",
        hide_env_values = true
    )]
    pub bundle: Option<PathBuf>,
    /// Only boot the hosts: their agents stay idle
    #[arg(long)]
    pub idle: bool,
}

/// A host of a lab.
#[derive(Debug, Args)]
pub struct LabHostArgs {
    /// The host's name
    pub host: String,
    /// Which lab
    #[command(flatten)]
    pub lab: LabName,
}

/// `khactl lab cut`
#[derive(Debug, Args)]
pub struct LabCutArgs {
    /// The host's name
    pub host: String,
    /// Only from this host
    #[arg(long, value_name = "HOST")]
    pub from: Option<String>,
    /// Only this way: what HOST sends to the other does not arrive
    #[arg(long, requires = "from")]
    pub one_way: bool,
    /// Which lab
    #[command(flatten)]
    pub lab: LabName,
}

/// `khactl lab exec`
#[derive(Debug, Args)]
pub struct LabExecArgs {
    /// The host's name
    pub host: String,
    /// Which lab
    #[command(flatten)]
    pub lab: LabName,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// `khactl lab demo`
#[derive(Debug, Args)]
pub struct LabDemoArgs {
    /// Which lab
    #[command(flatten)]
    pub lab: LabName,
    /// The bundle's folder [default: what `make kube` built]
    #[arg(
        long,
        value_name = "DIR",
        env = "KHACTL_BUNDLE",
        hide_env_values = true
    )]
    pub bundle: Option<PathBuf>,
    /// Take the lab down at the end
    #[arg(long)]
    pub down: bool,
}

/// `khactl lab probe`
#[derive(Debug, Args)]
pub struct LabProbeArgs {
    /// The address and port
    #[arg(long, value_name = "IP:PORT")]
    pub target: SocketAddr,
    /// Milliseconds between two connections
    #[arg(long, value_name = "MS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    pub every_ms: u64,
}

/// `khactl lab write`
#[derive(Debug, Args)]
pub struct LabWriteArgs {
    /// Where the API is and who writes
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: PathBuf,
    /// What the ConfigMaps' names begin with
    #[arg(long, value_name = "NAME", default_value = "lab-write")]
    pub prefix: String,
    /// Milliseconds between two writes
    #[arg(long, value_name = "MS", default_value_t = 20)]
    pub every_ms: u64,
}

/// `khactl lab verify`
#[derive(Debug, Args)]
pub struct LabVerifyArgs {
    /// Where the API is and who reads
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: PathBuf,
    /// What `lab write` printed
    #[arg(value_name = "FILE")]
    pub written: PathBuf,
}
