//! What is done to a host: checked, founded, joined, removed, cleaned.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::timespan;

/// `khactl preflight`
#[derive(Debug, Args)]
pub struct PreflightArgs {
    /// The cluster's spec; without it only what needs no spec is checked
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// This host is to join: what comes from the members need not be here
    #[arg(long)]
    pub join: bool,
    /// A host that this one must reach; repeat it for more
    #[arg(long = "peer", value_name = "ADDRESS")]
    pub peers: Vec<IpAddr>,
}

/// `khactl init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The cluster's spec
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// How long to wait until the API answers at the VIP
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = timespan::parse)]
    pub timeout: Duration,
}

/// `khactl join`
#[derive(Debug, Args)]
pub struct JoinArgs {
    /// The agent of any member
    #[arg(value_name = "HOST:9443")]
    pub member: String,
    /// What `khactl token create` printed on a member
    #[arg(
        long,
        value_name = "TOKEN",
        env = "KHACTL_TOKEN",
        hide_env_values = true
    )]
    pub token: String,
    /// How long to wait until this host serves
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = timespan::parse)]
    pub timeout: Duration,
}

/// `khactl remove`
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// The host that is to go
    pub host: String,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Also if the cluster bears the loss of fewer hosts afterwards
    #[arg(long)]
    pub force: bool,
    /// How long to wait until it is gone
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = timespan::parse)]
    pub timeout: Duration,
}

/// `khactl leave`
#[derive(Debug, Args)]
pub struct LeaveArgs {
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Also if the cluster bears the loss of fewer hosts afterwards
    #[arg(long)]
    pub force: bool,
    /// How long to wait until this host is out
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = timespan::parse)]
    pub timeout: Duration,
}

/// `khactl reset`
#[derive(Debug, Args)]
pub struct ResetArgs {
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Also if a cluster that works counts on this host
    #[arg(long)]
    pub force: bool,
    /// How long to wait until this host is clean
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = timespan::parse)]
    pub timeout: Duration,
}
