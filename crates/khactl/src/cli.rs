//! The command line's types, and nothing else.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::timespan;

/// Makes Linux hosts one highly available Kubernetes control plane, and keeps it that way.
#[derive(Debug, Parser)]
#[command(name = "khactl", version, max_term_width = 100)]
pub struct Cli {
    /// The agent's Unix socket on this host
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        default_value = "/run/khactl/khad.sock"
    )]
    pub socket: PathBuf,
    /// Another host's agent instead; needs --identity
    #[arg(long, global = true, value_name = "HOST:9443")]
    pub endpoint: Option<String>,
    /// Certificate, key and authority for --endpoint, in one PEM file
    #[arg(long, global = true, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// How to print
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value = "table"
    )]
    pub output: Format,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// How results and errors are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For programs; errors are JSON too
    Json,
    /// For programs; errors are JSON
    Yaml,
}

impl Format {
    /// What a command line that does not parse asked for, if it is a format for programs.
    pub fn asked_for(arguments: &[OsString]) -> Option<Self> {
        let arguments: Vec<_> = arguments.iter().filter_map(|a| a.to_str()).collect();
        let asked = |name: &str| {
            arguments.iter().enumerate().any(|(at, argument)| {
                *argument == format!("-o{name}")
                    || *argument == format!("-o={name}")
                    || *argument == format!("--output={name}")
                    || (matches!(*argument, "-o" | "--output")
                        && arguments.get(at + 1) == Some(&name))
            })
        };
        [(Self::Json, "json"), (Self::Yaml, "yaml")]
            .into_iter()
            .find_map(|(format, name)| asked(name).then_some(format))
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check this host, and a spec against it, without changing anything
    Preflight(PreflightArgs),
    /// Make this host the first of a new cluster; run again, it goes on where it stopped
    Init(InitArgs),
    /// Make this host join a cluster; run again, it goes on where it stopped
    Join(JoinArgs),
    /// Take another host out of the cluster for good, dead or alive; run again, it goes on
    Remove(RemoveArgs),
    /// Take this host out of its cluster in order; run again, it goes on
    Leave(LeaveArgs),
    /// Take away everything that khactl made on this host, and nothing else; run again, it goes on
    Reset(ResetArgs),
    /// The journal of what was done to the cluster
    #[command(subcommand)]
    Operation(OperationCommand),
    /// Tokens that let hosts join
    #[command(subcommand)]
    Token(TokenCommand),
    /// Show the cluster, what is wrong with it and what to do
    Status(StatusArgs),
    /// Who holds the VIP
    #[command(subcommand)]
    Vip(VipCommand),
    /// Who leads the agents
    #[command(subcommand)]
    Leader(LeaderCommand),
    /// The cluster's spec while it runs
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Bundles: the programs of a control plane in one file
    #[command(subcommand)]
    Bundle(BundleCommand),
    /// Print a kubeconfig that reaches the API through the VIP
    Kubeconfig(KubeconfigArgs),
    /// Print a component's log
    Logs(LogsArgs),
    /// Clusters of hosts in network namespaces on this machine (needs root)
    #[command(subcommand)]
    Lab(LabCommand),
    /// Print a completion script
    Completion {
        /// For which shell
        shell: Shell,
    },
    /// Write the man pages into a folder
    #[command(hide = true)]
    Manual {
        /// The folder
        into: PathBuf,
    },
}

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

/// `khactl token …`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token; it is shown this once and never stored
    Create(TokenCreateArgs),
    /// Show all tokens, without their secrets
    List,
    /// Make a token useless
    Revoke {
        /// As `khactl token list` shows it
        id: String,
    },
}

/// `khactl token create`
#[derive(Debug, Args)]
pub struct TokenCreateArgs {
    /// What the joining host will be
    #[arg(long, value_enum, default_value = "control-plane")]
    pub role: TokenRole,
    /// How long it may be used
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = timespan::parse)]
    pub ttl: Duration,
    /// How many hosts may join with it
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub uses: u32,
    /// The only host that may use it
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
}

/// What a token admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TokenRole {
    /// A full member
    ControlPlane,
    /// An agent and an etcd member without apiserver
    Witness,
}

impl TokenRole {
    /// As the agent names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Witness => "witness",
        }
    }
}

/// `khactl bundle …`
#[derive(Debug, Subcommand)]
pub enum BundleCommand {
    /// Fetch the programs of a version and make a bundle of them; run again, it goes on where it stopped
    Create(BundleCreateArgs),
    /// Put a bundle where this host's components are run from; the other hosts fetch it from this one
    Import(BundleImportArgs),
    /// Show the bundles of this host
    List {
        /// The folder of bundles
        #[arg(long, value_name = "DIR", default_value = BUNDLES)]
        store: PathBuf,
    },
}

/// Where bundles lie when nothing else is said.
const BUNDLES: &str = "/var/lib/khactl/bundles";

/// `khactl bundle create`
#[derive(Debug, Args)]
pub struct BundleCreateArgs {
    /// Which Kubernetes, for example v1.30.1
    #[arg(long, value_name = "VERSION")]
    pub kubernetes: String,
    /// Which etcd, for example v3.5.16
    #[arg(long, value_name = "VERSION")]
    pub etcd: String,
    /// A folder with the programs, or a mirror with upstream's paths [default: upstream]
    #[arg(long, value_name = "DIR|URL")]
    pub from: Option<String>,
    /// For which processor
    #[arg(long, value_name = "ARCH", default_value = "amd64")]
    pub arch: String,
    /// The file to make; in a folder it gets a name with its digest
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// `khactl bundle import`
#[derive(Debug, Args)]
pub struct BundleImportArgs {
    /// What `khactl bundle create` made
    pub file: PathBuf,
    /// Refuse any other bundle than the one with this digest
    #[arg(long, value_name = "SHA256")]
    pub digest: Option<String>,
    /// The name of its folder [default: the version of Kubernetes]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The folder of bundles
    #[arg(long, value_name = "DIR", default_value = BUNDLES)]
    pub store: PathBuf,
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
    pub target: std::net::SocketAddr,
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn format_is_found_in_a_command_line_that_does_not_parse() {
        let asked = |line: &str| {
            let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            Format::asked_for(&arguments)
        };
        assert_eq!(asked("khactl -o json nonsense"), Some(Format::Json));
        assert_eq!(asked("khactl nonsense --output=yaml"), Some(Format::Yaml));
        assert_eq!(asked("khactl nonsense -ojson"), Some(Format::Json));
        assert_eq!(asked("khactl -o table nonsense json"), None);
    }
}
