//! The command line: what it accepts, what it asks the agent, how it shows the answer.
//!
//! It decides nothing about a cluster: every command but `lab` and `completion` is one call to an
//! agent. It is a library so that tests can hold the command line against the documents.

pub mod cli;
mod commands;
mod connection;
mod failure;
mod identity;
mod moment;
mod output;
mod progress;
mod refusal;
mod timespan;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Format};
use crate::failure::Failure;

/// Runs one command line; what it prints and the exit code are the documented ones.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, &arguments),
    };
    let format = cli.output;
    match commands::run(&cli) {
        Ok(code) => code,
        Err(failure) => {
            failure.print(format);
            failure.exit_code()
        }
    }
}

fn usage(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    match Format::asked_for(arguments) {
        Some(format) if error.use_stderr() => {
            let failure = Failure::usage(error.to_string().trim_end());
            failure.print(format);
            failure.exit_code()
        }
        _ => {
            // A closed pipe is no reason to fail a --help.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
    }
}
