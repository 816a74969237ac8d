//! `khactl logs`.

use khactl_proto::v1::LogsRequest;

use crate::cli::LogsArgs;
use crate::connection::Agent;
use crate::failure::Failure;
use crate::output::bytes;
use crate::refusal::failure;

pub(super) async fn run(agent: &Agent, args: &LogsArgs) -> Result<(), Failure> {
    let doing = format!("read {}'s log", args.component);
    let refused = |status| failure(agent, &doing, &status);
    let request = LogsRequest {
        component: args.component.clone(),
        host: args.host.clone().unwrap_or_default(),
        lines: args.lines.unwrap_or(0),
        follow: args.follow,
        since_ms: args.since.map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        }),
    };
    let mut stream = agent
        .connect()
        .await?
        .logs(request)
        .await
        .map_err(refused)?
        .into_inner();
    while let Some(chunk) = stream.message().await.map_err(refused)? {
        bytes(&chunk.data)?;
    }
    Ok(())
}
