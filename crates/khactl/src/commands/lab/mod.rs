//! `khactl lab`: clusters of hosts in network namespaces on this machine.

mod api;
mod called;
mod cluster;
mod demo;
mod hosts;
mod kubeconfig;
mod probe;
mod until_closed;
mod verify;
mod write;

use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;

use khactl_lab::LabError;

use crate::cli::{LabCommand, LabUpArgs};
use crate::commands::wait_for;
use crate::failure::{Failure, chain};
use crate::output::{Output, line};

pub(super) fn run(command: &LabCommand, output: Output) -> Result<ExitCode, Failure> {
    match command {
        LabCommand::Probe(args) => return wait_for(probe::run(args)).map(|()| ExitCode::SUCCESS),
        LabCommand::Write(args) => return wait_for(write::run(args)).map(|()| ExitCode::SUCCESS),
        LabCommand::Verify(args) => return wait_for(verify::run(args, output)),
        _ => require_root()?,
    }
    match command {
        LabCommand::Up(args) => up(args),
        LabCommand::Demo(args) => demo::run(args, output),
        LabCommand::Exec(args) => return hosts::exec(args),
        LabCommand::Status(lab) => hosts::status(lab, output),
        LabCommand::Cut(args) => hosts::cut(args),
        LabCommand::Heal(args) => hosts::act(args, "heal", khactl_lab::Lab::heal),
        LabCommand::Kill(args) => hosts::act(args, "kill", khactl_lab::Lab::kill),
        LabCommand::Start(args) => hosts::act(args, "start", khactl_lab::Lab::start),
        LabCommand::Pause(args) => hosts::act(args, "pause", khactl_lab::Lab::pause),
        LabCommand::Resume(args) => hosts::act(args, "resume", khactl_lab::Lab::resume),
        LabCommand::Down(lab) => hosts::down(lab),
        LabCommand::Probe(_) | LabCommand::Write(_) | LabCommand::Verify(_) => Ok(()),
    }
    .map(|()| ExitCode::SUCCESS)
}

fn up(args: &LabUpArgs) -> Result<(), Failure> {
    let lab = cluster::boot(&args.lab.name, args.hosts, args.bundle.as_deref(), true)?;
    if args.idle {
        return line("the hosts are up, their agents idle");
    }
    cluster::form(&lab)?;
    line(&cluster::how_to_use(&lab))
}

/// Namespaces need root; said before anything is touched.
fn require_root() -> Result<(), Failure> {
    // The owner of a process's folder is its effective user.
    let root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if root {
        return Ok(());
    }
    Err(Failure::new(
        "KHA0921",
        "run a lab",
        "namespaces, mounts and nftables need root",
        "run it with sudo",
    ))
}

/// A lab's error as the command's failure.
fn failed(doing: &str) -> impl Fn(LabError) -> Failure {
    move |error| {
        let (code, advice) = match &error {
            LabError::NotRoot => ("KHA0921", "run it with sudo"),
            LabError::NotUp { .. } => ("KHA0922", "start one: khactl lab up"),
            LabError::UnknownHost { .. } | LabError::HostOff { .. } => {
                ("KHA0923", "khactl lab status shows the hosts")
            }
            _ => (
                "KHA0920",
                "khactl lab status shows the lab; khactl lab down removes it",
            ),
        };
        Failure::new(code, doing, chain(&error), advice)
    }
}
