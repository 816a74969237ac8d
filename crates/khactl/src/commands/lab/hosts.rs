//! Single actions on a lab's hosts.

use std::process::ExitCode;

use khactl_lab::{CLIENT, Lab, LabName, LabStatus};

use super::cluster::KUBECONFIG;
use super::failed;
use crate::cli::{LabCutArgs, LabExecArgs, LabHostArgs, LabName as LabNameArgs};
use crate::failure::{Failure, chain};
use crate::output::{Output, line, table};

pub(super) fn status(lab: &LabNameArgs, output: Output) -> Result<(), Failure> {
    let doing = failed("show the lab");
    let status = Lab::open(&lab.name)
        .and_then(|lab| lab.status())
        .map_err(doing)?;
    output.show(&status, || render(&status))
}

fn render(status: &LabStatus) -> String {
    let rows = status.hosts.iter().map(|host| {
        vec![
            host.name.clone(),
            host.address.to_string(),
            format!("{:?}", host.power).to_lowercase(),
            host.processes.join(" "),
        ]
    });
    let hosts = table(&["HOST", "ADDRESS", "POWER", "PROCESSES"], rows);
    let cuts: Vec<_> = status
        .cuts
        .iter()
        .map(|cut| format!("cut: {} does not reach {}", cut.from, cut.to))
        .collect();
    if cuts.is_empty() {
        hosts
    } else {
        format!("{hosts}\n{}", cuts.join("\n"))
    }
}

pub(super) fn act(
    args: &LabHostArgs,
    verb: &str,
    action: impl FnOnce(&Lab, &str) -> khactl_lab::Result<()>,
) -> Result<(), Failure> {
    let doing = failed(verb);
    let lab = Lab::open(&args.lab.name).map_err(&doing)?;
    action(&lab, &args.host).map_err(&doing)
}

pub(super) fn cut(args: &LabCutArgs) -> Result<(), Failure> {
    let doing = failed("cut");
    let lab = Lab::open(&args.lab.name).map_err(&doing)?;
    match &args.from {
        None => lab.cut(&args.host),
        Some(other) if args.one_way => lab.cut_one_way(&args.host, other),
        Some(other) => lab.cut_pair(&args.host, other),
    }
    .map_err(&doing)
}

pub(super) fn down(lab: &LabNameArgs) -> Result<(), Failure> {
    let name = LabName::new(lab.name.as_str()).map_err(failed("take the lab down"))?;
    Lab::take_down(&name).map_err(failed("take the lab down"))?;
    line(&format!("the lab {name} is down"))
}

/// The command's own exit code is khactl's.
pub(super) fn exec(args: &LabExecArgs) -> Result<ExitCode, Failure> {
    let doing = failed("run a command in the lab");
    let lab = Lab::open(&args.lab.name).map_err(&doing)?;
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Failure::usage("there is no command after --"));
    };
    let mut command = lab
        .exec(&args.host, &program.to_string_lossy())
        .map_err(&doing)?;
    if args.host == CLIENT {
        command.env("KUBECONFIG", KUBECONFIG);
    }
    let ended = command.args(arguments).status().map_err(|error| {
        Failure::new(
            "KHA0920",
            "run a command in the lab",
            chain(&error),
            "see whether nsenter and setpriv (util-linux) are installed",
        )
    })?;
    // A signal's death has no code; 1 says failed.
    let code = ended.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}
