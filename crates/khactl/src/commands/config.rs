//! `khactl config`: the spec while the cluster runs.

use std::path::Path;

use jiff::Timestamp;
use khactl_proto::v1::apply_config_request::Mode;
use khactl_proto::v1::{
    ApplyConfigRequest, ApplyConfigResponse, ConfigChange, ReadConfigRequest, SpecRevision,
};
use serde::Serialize;

use crate::cli::{ConfigCommand, Format};
use crate::commands::spec_file;
use crate::connection::Agent;
use crate::failure::Failure;
use crate::output::{Output, bytes, table};
use crate::refusal::failure;

const SHOW: &str = "show the spec";
const CHANGE: &str = "change the cluster's spec";

#[derive(Serialize)]
struct Shown {
    revision: u64,
    spec: String,
}

#[derive(Serialize)]
struct History {
    revisions: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    revision: u64,
    at: String,
    by: String,
    in_force: bool,
}

#[derive(Serialize)]
struct Outcome {
    /// In force now.
    revision: u64,
    applied: bool,
    changes: Vec<Change>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Change {
    path: String,
    before: String,
    after: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    code: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
}

pub(super) async fn run(
    agent: &Agent,
    command: &ConfigCommand,
    output: Output,
) -> Result<(), Failure> {
    match command {
        ConfigCommand::Show => show(agent, output).await,
        ConfigCommand::History => history(agent, output).await,
        ConfigCommand::Diff { file } => {
            let request = of_file(file, Mode::Compare)?;
            send(agent, request, output).await
        }
        ConfigCommand::Apply { file, dry_run } => {
            let mode = if *dry_run {
                Mode::Rehearse
            } else {
                Mode::Apply
            };
            let request = of_file(file, mode)?;
            send(agent, request, output).await
        }
        ConfigCommand::Rollback { revision } => rollback(agent, *revision, output).await,
    }
}

fn of_file(path: &Path, mode: Mode) -> Result<ApplyConfigRequest, Failure> {
    let (spec_yaml, file) = spec_file::read(path)?;
    Ok(ApplyConfigRequest {
        mode: mode.into(),
        spec_yaml,
        file,
        based_on: 0,
    })
}

async fn revisions(agent: &Agent, doing: &str) -> Result<Vec<SpecRevision>, Failure> {
    let answer = agent
        .connect()
        .await?
        .read_config(ReadConfigRequest {})
        .await
        .map_err(|status| failure(agent, doing, &status))?;
    Ok(answer.into_inner().revisions)
}

async fn show(agent: &Agent, output: Output) -> Result<(), Failure> {
    let present = revisions(agent, SHOW).await?.pop().unwrap_or_default();
    match output.format {
        // As it is: it may be edited and applied.
        Format::Table | Format::Yaml => bytes(present.yaml.as_bytes()),
        Format::Json => {
            let shown = Shown {
                revision: present.revision,
                spec: present.yaml,
            };
            output.show(&shown, String::new)
        }
    }
}

async fn history(agent: &Agent, output: Output) -> Result<(), Failure> {
    let known = revisions(agent, SHOW).await?;
    let last = known.last().map_or(0, |spec| spec.revision);
    let history = History {
        revisions: known
            .into_iter()
            .rev()
            .map(|spec| Entry {
                revision: spec.revision,
                at: time(spec.at_ms),
                by: spec.actor,
                in_force: spec.revision == last,
            })
            .collect(),
    };
    output.show(&history, || {
        let rows = history.revisions.iter().map(|revision| {
            let state = if revision.in_force { "in force" } else { "" };
            vec![
                revision.revision.to_string(),
                revision.at.clone(),
                revision.by.clone(),
                state.to_owned(),
            ]
        });
        table(&["REVISION", "SINCE", "BY", ""], rows)
    })
}

async fn rollback(agent: &Agent, revision: u64, output: Output) -> Result<(), Failure> {
    let known = revisions(agent, CHANGE).await?;
    let present = known.last().map_or(0, |spec| spec.revision);
    let Some(spec) = known.into_iter().find(|spec| spec.revision == revision) else {
        return Err(Failure::new(
            "KHA2303",
            CHANGE,
            format!("there is no revision {revision}"),
            "`khactl config history` shows those that are kept",
        ));
    };
    let request = ApplyConfigRequest {
        mode: Mode::Apply.into(),
        spec_yaml: spec.yaml,
        file: format!("revision {revision}"),
        based_on: present,
    };
    send(agent, request, output).await
}

async fn send(agent: &Agent, request: ApplyConfigRequest, output: Output) -> Result<(), Failure> {
    let mode = request.mode();
    let answer = agent
        .connect()
        .await?
        .apply_config(request)
        .await
        .map_err(|status| failure(agent, CHANGE, &status))?
        .into_inner();
    let outcome = outcome(mode, answer);
    output.show(&outcome, || render(mode, &outcome))
}

fn outcome(mode: Mode, answer: ApplyConfigResponse) -> Outcome {
    Outcome {
        revision: answer.revision,
        applied: mode == Mode::Apply && !answer.changes.is_empty(),
        changes: answer.changes.into_iter().map(change).collect(),
        notes: answer.notes,
    }
}

fn change(change: ConfigChange) -> Change {
    Change {
        path: change.path,
        before: change.before,
        after: change.after,
        code: change.code,
        reason: change.reason,
    }
}

fn render(mode: Mode, outcome: &Outcome) -> String {
    let revision = outcome.revision;
    if outcome.changes.is_empty() {
        return format!("no change: revision {revision} is in force");
    }
    let or_unset = |text: &str| if text.is_empty() { "unset" } else { text }.to_owned();
    let mut lines: Vec<_> = outcome
        .changes
        .iter()
        .map(|change| {
            let line = format!(
                "{}: {} -> {}",
                change.path,
                or_unset(&change.before),
                or_unset(&change.after)
            );
            match change.code.as_str() {
                "" => line,
                code => format!("{line}\n  cannot change: {} ({code})", change.reason),
            }
        })
        .collect();
    lines.extend(outcome.notes.iter().map(|note| format!("note: {note}")));
    lines.push(match mode {
        Mode::Apply => format!("revision {revision} is in force"),
        Mode::Rehearse => format!("nothing was changed: revision {revision} is in force"),
        Mode::Compare => format!("compared with revision {revision}, which is in force"),
    });
    lines.join("\n")
}

fn time(since_epoch_ms: i64) -> String {
    Timestamp::from_millisecond(since_epoch_ms)
        .map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default()
}
