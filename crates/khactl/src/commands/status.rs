//! `khactl status`.

mod page;

use std::io::Write as _;
use std::time::Duration;

use khactl_model::status::ClusterStatus;
use khactl_proto::v1::StatusRequest;

use crate::cli::{Format, StatusArgs};
use crate::connection::Agent;
use crate::failure::{Failure, chain};
use crate::moment;
use crate::output::{Output, line};
use crate::refusal::failure;

const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Home, and erase to the end of the screen after what is drawn.
const HOME: &str = "\x1b[H";
const ERASE_LINE_END: &str = "\x1b[K";
const ERASE_BELOW: &str = "\x1b[J";

pub(super) async fn run(agent: &Agent, args: &StatusArgs, output: Output) -> Result<(), Failure> {
    if !args.watch {
        return show(&ask(agent).await?, output);
    }
    let mut tick = tokio::time::interval(WATCH_EVERY);
    if output.is_live() {
        line(&format!("{HOME}{ERASE_BELOW}"))?;
    }
    loop {
        tick.tick().await;
        match ask(agent).await {
            Ok(json) if output.is_live() => redraw(&page_of(&json)?)?,
            Ok(json) => show(&json, output)?,
            // An agent that restarts is what one may be watching for.
            Err(failure) if output.is_live() => redraw(&failure.to_string())?,
            Err(failure) => failure.print(output.format),
        }
    }
}

async fn ask(agent: &Agent) -> Result<String, Failure> {
    let answer = agent
        .connect()
        .await?
        .status(StatusRequest {})
        .await
        .map_err(|status| failure(agent, "show the status", &status))?;
    Ok(answer.into_inner().json)
}

fn show(json: &str, output: Output) -> Result<(), Failure> {
    match output.format {
        Format::Table => line(page_of(json)?.trim_end()),
        // As the agent sent it: a newer one may have fields that are not known here.
        Format::Json | Format::Yaml => {
            let value: serde_json::Value = serde_json::from_str(json).map_err(|e| unread(&e))?;
            output.show(&value, String::new)
        }
    }
}

fn page_of(json: &str) -> Result<String, Failure> {
    let status: ClusterStatus = serde_json::from_str(json).map_err(|e| unread(&e))?;
    Ok(page::render(&status, moment::now()))
}

fn redraw(page: &str) -> Result<(), Failure> {
    let mut screen = String::from(HOME);
    for text in page.lines() {
        screen.push_str(text);
        screen.push_str(ERASE_LINE_END);
        screen.push('\n');
    }
    screen.push_str(ERASE_BELOW);
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(screen.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::unwritten(&error))
}

fn unread(error: &serde_json::Error) -> Failure {
    Failure::new(
        "KHA0908",
        "read the agent's status",
        chain(error),
        "install the same version of khactl and khad",
    )
}
