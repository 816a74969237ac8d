//! `khactl remove`.

use khactl_proto::v1::RemoveHostRequest;

use crate::cli::RemoveArgs;
use crate::commands::confirmation::confirm;
use crate::commands::operation;
use crate::connection::Agent;
use crate::failure::Failure;
use crate::output::Output;

pub(super) async fn run(agent: &Agent, args: &RemoveArgs, output: Output) -> Result<(), Failure> {
    let host = &args.host;
    if !args.yes {
        let what = format!("{host} will never be a host of this cluster again as it is");
        confirm(&format!("remove {host}"), &what, host)?;
    }
    let mut client = agent.connect().await?;
    let answer = client.remove(RemoveHostRequest {
        host: args.host.clone(),
        force: args.force,
    });
    operation::follow("remove", agent, answer, args.timeout, output).await
}
