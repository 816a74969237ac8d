//! `khactl init`.

use khactl_proto::v1::InitRequest;

use crate::cli::InitArgs;
use crate::commands::{operation, spec_file};
use crate::connection::Agent;
use crate::failure::Failure;
use crate::output::Output;

pub(super) async fn run(agent: &Agent, args: &InitArgs, output: Output) -> Result<(), Failure> {
    let (spec_yaml, file) = spec_file::read(&args.file)?;
    let mut client = agent.connect().await?;
    let answer = client.init(InitRequest { spec_yaml, file });
    operation::follow("init", agent, answer, args.timeout, output).await
}
