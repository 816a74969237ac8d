//! `khactl leave`.

use khactl_proto::v1::LeaveRequest;

use crate::cli::LeaveArgs;
use crate::commands::confirmation::confirm;
use crate::commands::operation;
use crate::connection::Agent;
use crate::failure::Failure;
use crate::output::Output;

pub(super) async fn run(agent: &Agent, args: &LeaveArgs, output: Output) -> Result<(), Failure> {
    if !args.yes {
        let what =
            "This host will run nothing of its cluster any more, and forgets the cluster's keys";
        confirm("leave the cluster", what, "leave")?;
    }
    let mut client = agent.connect().await?;
    let answer = client.leave(LeaveRequest { force: args.force });
    operation::follow("leave", agent, answer, args.timeout, output).await
}
