//! The command line's types, and nothing else. A family of commands has a file of its own.

mod bundle;
mod cluster;
mod host;
mod lab;
mod token;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use bundle::{BundleCommand, BundleCreateArgs, BundleImportArgs};
pub use cluster::{
    ConfigCommand, KubeconfigArgs, LeaderCommand, LogsArgs, OperationCommand, StatusArgs,
    TransferArgs, VipCommand,
};
pub use host::{InitArgs, JoinArgs, LeaveArgs, PreflightArgs, RemoveArgs, ResetArgs};
pub use lab::{
    LabCommand, LabCutArgs, LabDemoArgs, LabExecArgs, LabHostArgs, LabName, LabProbeArgs,
    LabUpArgs, LabVerifyArgs, LabWriteArgs,
};
pub use token::{TokenCommand, TokenCreateArgs, TokenRole};

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
