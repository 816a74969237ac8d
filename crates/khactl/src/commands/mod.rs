//! One file per command.

mod backends;
mod bundle;
mod completion;
mod config;
mod confirmation;
mod init;
mod join;
mod journal;
mod kubeconfig;
mod lab;
mod leave;
mod logs;
mod manual;
mod operation;
mod preflight;
mod remove;
mod reset;
mod spec_file;
mod status;
mod token;
mod transfer;

use std::future::Future;
use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::connection::Agent;
use crate::failure::{Failure, chain};
use crate::output::Output;

pub(crate) fn run(cli: &Cli) -> Result<ExitCode, Failure> {
    let output = Output { format: cli.output };
    let agent = || Agent::of(cli);
    match &cli.command {
        Command::Preflight(args) => {
            let agent = agent()?;
            return wait_for(preflight::run(&agent, args, output));
        }
        Command::Init(args) => wait_for(init::run(&agent()?, args, output)),
        Command::Join(args) => wait_for(join::run(&agent()?, args, output)),
        Command::Remove(args) => wait_for(remove::run(&agent()?, args, output)),
        Command::Leave(args) => wait_for(leave::run(&agent()?, args, output)),
        Command::Reset(args) => wait_for(reset::run(&agent()?, args, output)),
        Command::Operation(command) => wait_for(journal::run(&agent()?, command, output)),
        Command::Token(command) => wait_for(token::run(&agent()?, command, output)),
        Command::Status(args) => wait_for(status::run(&agent()?, args, output)),
        Command::Vip(command) => wait_for(transfer::vip(&agent()?, command, output)),
        Command::Leader(command) => wait_for(transfer::leader(&agent()?, command, output)),
        Command::Config(command) => wait_for(config::run(&agent()?, command, output)),
        Command::Bundle(command) => bundle::run(command, output),
        Command::Kubeconfig(args) => wait_for(kubeconfig::run(&agent()?, args, output)),
        Command::Logs(args) => wait_for(logs::run(&agent()?, args)),
        Command::Lab(command) => return lab::run(command, output),
        Command::Completion { shell } => completion::run(*shell),
        Command::Manual { into } => manual::run(into),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// Runs a command's calls to their end, on this thread.
fn wait_for<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(
                "KHA0912",
                "start",
                chain(&error),
                "see whether this host is short of memory or of file descriptors",
            )
        })?
        .block_on(command)
}
