//! `khactl remove`.

use std::io::{self, BufRead, IsTerminal, Write};

use khactl_proto::v1::RemoveHostRequest;

use crate::cli::RemoveArgs;
use crate::commands::operation;
use crate::connection::Agent;
use crate::failure::Failure;
use crate::output::Output;

pub(super) async fn run(agent: &Agent, args: &RemoveArgs, output: Output) -> Result<(), Failure> {
    if !args.yes {
        confirm(&args.host)?;
    }
    let mut client = agent.connect().await?;
    let answer = client.remove(RemoveHostRequest {
        host: args.host.clone(),
        force: args.force,
    });
    operation::follow("remove", agent, answer, args.timeout, output).await
}

/// Asks a person; a program has to say `--yes`.
fn confirm(host: &str) -> Result<(), Failure> {
    let refused = |wrong: &str| {
        Failure::new(
            "KHA0914",
            format!("remove {host}"),
            wrong,
            "say it again with the host's name, or with --yes",
        )
    };
    if !io::stdin().is_terminal() {
        return Err(refused("it cannot be undone, and there is nobody to ask"));
    }
    let asked = write!(
        io::stderr(),
        "{host} will never be a host of this cluster again as it is. Its name, to go on: "
    )
    .and_then(|()| io::stderr().flush());
    let mut answer = String::new();
    let heard = asked.and_then(|()| io::stdin().lock().read_line(&mut answer));
    match heard {
        Ok(_) if answer.trim() == host => Ok(()),
        _ => Err(refused("that was not its name")),
    }
}
