//! `khactl reset`: the agent judges, ends, cleans this host and starts anew; where none runs, `khad reset` does it.

use std::path::Path;
use std::process::{Output as Ended, Stdio};
use std::time::Duration;

use khactl_proto::v1::{ResetRequest, StatusRequest};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::cli::ResetArgs;
use crate::commands::confirmation::confirm;
use crate::connection::Agent;
use crate::failure::{Exit, Failure, chain};
use crate::output::Output;
use crate::refusal::failure;
use crate::timespan;

const DOING: &str = "clean this host";
/// An agent that is no member says so.
const IDLE: &str = "KHA3050";
/// Nobody answers on the socket.
const NO_AGENT: &str = "KHA0901";
const ASK_EVERY: Duration = Duration::from_millis(200);

/// What is left on the host.
#[derive(Debug, Serialize, Deserialize)]
struct Cleaned {
    kept: Vec<String>,
}

/// What `khad reset` prints.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Told {
    Cleaned(Cleaned),
    Refused { refused: Refusal },
}

#[derive(Debug, Deserialize)]
struct Refusal {
    code: String,
    doing: String,
    wrong: String,
    advice: String,
}

pub(super) async fn run(agent: &Agent, args: &ResetArgs, output: Output) -> Result<(), Failure> {
    let Agent::Socket(socket) = agent else {
        return Err(Failure::usage(
            "reset cleans the host that it runs on: leave --endpoint out",
        ));
    };
    if !args.yes {
        let what = "All that khactl made on this host goes: processes, keys, the data of etcd and of consensus";
        confirm(DOING, what, "reset")?;
    }
    let clean = async {
        match agent.connect().await {
            Ok(mut client) => {
                let force = args.force;
                let answer = client
                    .reset(ResetRequest { force })
                    .await
                    .map_err(|status| failure(agent, DOING, &status))?;
                idle_again(agent).await;
                Ok(Cleaned {
                    kept: answer.into_inner().kept,
                })
            }
            Err(failure) if failure.code == NO_AGENT => offline(socket, args.force).await,
            Err(failure) => Err(failure),
        }
    };
    let cleaned = tokio::time::timeout(args.timeout, clean)
        .await
        .map_err(|_| {
            Failure::new(
                "KHA0915",
                DOING,
                format!(
                    "it is not complete, or khad is not back, after {}",
                    timespan::show(args.timeout)
                ),
                "see khad's log (journalctl -u khad), then run it again: it goes on where it stopped",
            )
            .not_ready()
        })??;
    output.show(&cleaned, || {
        format!(
            "this host is clean. Left are:\n  {}",
            cleaned.kept.join("\n  ")
        )
    })
}

/// The agent cleans the host without answering, and then is a new one that is no member.
async fn idle_again(agent: &Agent) {
    loop {
        if let Ok(mut client) = agent.connect().await
            && let Err(status) = client.status(StatusRequest {}).await
            && failure(agent, DOING, &status).code == IDLE
        {
            return;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn offline(socket: &Path, force: bool) -> Result<Cleaned, Failure> {
    let unable = |wrong: String| {
        Failure::new(
            "KHA0916",
            DOING,
            wrong,
            "put khad beside khactl, or start it: systemctl start khad",
        )
    };
    let khad = std::env::current_exe()
        .map_err(|error| unable(chain(&error)))?
        .with_file_name("khad");
    let mut command = Command::new(&khad);
    if let Some(folder) = socket.parent() {
        command.arg("--run-dir").arg(folder);
    }
    command.arg("reset");
    if force {
        command.arg("--force");
    }
    let ended = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| unable(format!("{} does not run: {error}", khad.display())))?;
    told(&ended).unwrap_or_else(|| {
        let said = String::from_utf8_lossy(&ended.stderr);
        Err(unable(format!("{} ended: {}", khad.display(), said.trim())))
    })
}

fn told(ended: &Ended) -> Option<Result<Cleaned, Failure>> {
    let last = ended
        .stdout
        .split(|byte| *byte == b'\n')
        .rfind(|line| !line.is_empty())?;
    match serde_json::from_slice(last).ok()? {
        Told::Cleaned(cleaned) => Some(Ok(cleaned)),
        Told::Refused { refused } => Some(Err(Failure {
            code: refused.code,
            doing: refused.doing,
            wrong: refused.wrong,
            advice: refused.advice,
            exit: Exit::Failed,
        })),
    }
}
