//! `khactl operation`: the journal.

use khactl_model::status::JournalEntry;
use khactl_proto::v1::{AbortOperationRequest, ReadJournalRequest};

use crate::cli::OperationCommand;
use crate::connection::Agent;
use crate::failure::{Failure, chain};
use crate::output::{Output, line, table};
use crate::refusal::failure;

pub(super) async fn run(
    agent: &Agent,
    command: &OperationCommand,
    output: Output,
) -> Result<(), Failure> {
    match command {
        OperationCommand::List => {
            let entries = read(agent).await?;
            output.show(&entries, || list(&entries))
        }
        OperationCommand::Show { id } => {
            let entries = read(agent).await?;
            let Some(entry) = entries.into_iter().find(|entry| entry.id == *id) else {
                return Err(Failure::new(
                    "KHA2001",
                    "show an operation",
                    format!("operation {id} is not in the journal"),
                    "`khactl operation list` shows those there are; the journal keeps 200",
                ));
            };
            output.show(&entry, || show(&entry))
        }
        OperationCommand::Abort { id } => {
            let mut client = agent.connect().await?;
            client
                .abort_operation(AbortOperationRequest { operation: *id })
                .await
                .map_err(|status| failure(agent, "abort an operation", &status))?;
            line(&format!(
                "operation {id} is aborted: the host stays, and takes its part again"
            ))
        }
    }
}

async fn read(agent: &Agent) -> Result<Vec<JournalEntry>, Failure> {
    let doing = "read the journal";
    let answer = agent
        .connect()
        .await?
        .read_journal(ReadJournalRequest {})
        .await
        .map_err(|status| failure(agent, doing, &status))?;
    serde_json::from_str(&answer.into_inner().json).map_err(|error| {
        Failure::new(
            "KHA0908",
            doing,
            chain(&error),
            "install the same version of khactl and khad",
        )
    })
}

fn list(entries: &[JournalEntry]) -> String {
    let rows = entries.iter().map(|JournalEntry { id, operation }| {
        vec![
            id.to_string(),
            operation.kind.as_str().to_owned(),
            operation.host_name.clone(),
            state(operation.state),
            operation
                .steps
                .last()
                .map(|step| step.name.clone())
                .unwrap_or_default(),
            time(operation.started_at_ms),
            operation.actor.clone(),
        ]
    });
    table(
        &["ID", "KIND", "HOST", "STATE", "STEP", "STARTED", "BY"],
        rows,
    )
}

fn show(JournalEntry { id, operation }: &JournalEntry) -> String {
    let head = format!(
        "{id}: {} of {}, {}, begun {} by {}",
        operation.kind.as_str(),
        operation.host_name,
        state(operation.state),
        time(operation.started_at_ms),
        operation.actor
    );
    let rows = operation.steps.iter().map(|step| {
        vec![
            step.name.clone(),
            step.state.as_str().to_owned(),
            time(step.changed_at_ms),
            step.text.clone(),
        ]
    });
    format!("{head}\n\n{}", table(&["STEP", "STATE", "AT", ""], rows))
}

fn state(state: khactl_model::state::OperationState) -> String {
    use khactl_model::state::OperationState;
    match state {
        OperationState::Running => "running",
        OperationState::Done => "done",
        OperationState::Failed => "given up",
    }
    .to_owned()
}

fn time(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(
        |_| at_ms.to_string(),
        |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    )
}
