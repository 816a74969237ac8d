//! `khactl join`.

use khactl_proto::v1::JoinClusterRequest;

use crate::cli::JoinArgs;
use crate::commands::operation;
use crate::connection::Agent;
use crate::failure::Failure;
use crate::output::Output;

pub(super) async fn run(agent: &Agent, args: &JoinArgs, output: Output) -> Result<(), Failure> {
    let mut client = agent.connect().await?;
    let answer = client.join(JoinClusterRequest {
        endpoint: args.member.clone(),
        token: args.token.clone(),
    });
    operation::follow("join", agent, answer, args.timeout, output).await
}
