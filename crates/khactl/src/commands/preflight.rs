//! `khactl preflight`.

use std::process::ExitCode;

use khactl_proto::v1::finding::Level;
use khactl_proto::v1::{Finding, PreflightRequest};
use serde::Serialize;

use crate::cli::PreflightArgs;
use crate::commands::spec_file;
use crate::connection::Agent;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::refusal::failure;

#[derive(Serialize)]
struct Shown {
    level: &'static str,
    check: String,
    finding: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    cure: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    code: String,
}

#[derive(Serialize)]
struct Findings {
    findings: Vec<Shown>,
    blocking: usize,
}

pub(super) async fn run(
    agent: &Agent,
    args: &PreflightArgs,
    output: Output,
) -> Result<ExitCode, Failure> {
    let (spec_yaml, file) = match &args.file {
        Some(path) => spec_file::read(path)?,
        None => (String::new(), String::new()),
    };
    let findings = agent
        .connect()
        .await?
        .preflight(PreflightRequest {
            spec_yaml,
            file,
            joins: args.join,
            peers: args.peers.iter().map(ToString::to_string).collect(),
        })
        .await
        .map_err(|status| failure(agent, "check this host", &status))?
        .into_inner()
        .findings;
    let blocking = findings
        .iter()
        .filter(|finding| finding.level() == Level::Blocking)
        .count();
    let shown = Findings {
        findings: findings.into_iter().map(shown).collect(),
        blocking,
    };
    output.show(&shown, || render(&shown))?;
    Ok(match blocking {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(Exit::Failed as u8),
    })
}

fn shown(finding: Finding) -> Shown {
    Shown {
        level: match finding.level() {
            Level::Ok => "ok",
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Blocking => "blocking",
        },
        check: finding.check,
        finding: finding.finding,
        cure: finding.cure,
        code: finding.code,
    }
}

fn render(shown: &Findings) -> String {
    let mut lines = Vec::new();
    for finding in &shown.findings {
        let sign = match finding.level {
            "ok" => "✓",
            "info" => "·",
            "warning" => "!",
            _ => "✗",
        };
        let code = match finding.code.as_str() {
            "" => String::new(),
            code => format!(" ({code})"),
        };
        let text = finding.finding.replace('\n', "\n    ");
        lines.push(format!("{sign} {}: {text}{code}", finding.check));
        if !finding.cure.is_empty() {
            lines.push(format!("    try: {}", finding.cure));
        }
    }
    lines.push(match shown.blocking {
        0 => "nothing blocks".into(),
        1 => "1 finding blocks".into(),
        several => format!("{several} findings block"),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_show_their_cure() {
        let findings = [
            (Level::Ok, "ports", "all free", "", ""),
            (
                Level::Info,
                "names",
                "no address for cp2",
                "nothing",
                "KHA2102",
            ),
            (
                Level::Warning,
                "clock",
                "chrony is not running",
                "start it",
                "KHA2101",
            ),
            (
                Level::Blocking,
                "vip",
                "10.77.0.11 is this host's own",
                "use a free address",
                "KHA1021",
            ),
        ];
        let shown = Findings {
            findings: findings
                .into_iter()
                .map(|(level, check, finding, cure, code)| {
                    shown(Finding {
                        level: level.into(),
                        check: check.into(),
                        finding: finding.into(),
                        cure: cure.into(),
                        code: code.into(),
                    })
                })
                .collect(),
            blocking: 1,
        };
        insta::assert_snapshot!(render(&shown), @r"
        ✓ ports: all free
        · names: no address for cp2 (KHA2102)
            try: nothing
        ! clock: chrony is not running (KHA2101)
            try: start it
        ✗ vip: 10.77.0.11 is this host's own (KHA1021)
            try: use a free address
        1 finding blocks
        ");
    }
}
