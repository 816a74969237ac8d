//! `khactl vip transfer` and `khactl leader transfer`.

use std::time::Duration;

use khactl_proto::v1::{TransferRequest, TransferResponse};
use serde::Serialize;
use tonic::{Response, Status};

use super::backends;
use crate::cli::{LeaderCommand, TransferArgs, VipCommand};
use crate::connection::Agent;
use crate::failure::Failure;
use crate::output::Output;
use crate::refusal::failure;

#[derive(Serialize)]
struct Transferred {
    moved: bool,
    from: String,
    to: String,
}

/// What is handed over.
struct Office {
    doing: &'static str,
    moved: &'static str,
    had: &'static str,
}

const VIP: Office = Office {
    doing: "hand the VIP over",
    moved: "the VIP moved",
    had: "holds the VIP already",
};

const LEADER: Office = Office {
    doing: "hand the leadership over",
    moved: "the leadership moved",
    had: "leads already",
};

pub(super) async fn vip(
    agent: &Agent,
    command: &VipCommand,
    output: Output,
) -> Result<(), Failure> {
    let args = match command {
        VipCommand::Transfer(args) => args,
        VipCommand::Backends => return backends::run(agent, output).await,
    };
    let mut client = agent.connect().await?;
    let call = client.transfer_vip(request(args));
    wait(agent, &VIP, args, call, output).await
}

pub(super) async fn leader(
    agent: &Agent,
    command: &LeaderCommand,
    output: Output,
) -> Result<(), Failure> {
    let LeaderCommand::Transfer(args) = command;
    let mut client = agent.connect().await?;
    let call = client.transfer_leader(request(args));
    wait(agent, &LEADER, args, call, output).await
}

fn request(args: &TransferArgs) -> TransferRequest {
    TransferRequest {
        host: args.host.clone(),
    }
}

async fn wait(
    agent: &Agent,
    office: &Office,
    args: &TransferArgs,
    call: impl Future<Output = Result<Response<TransferResponse>, Status>>,
    output: Output,
) -> Result<(), Failure> {
    let answer = tokio::time::timeout(args.timeout, call)
        .await
        .map_err(|_| late(office, args.timeout))?
        .map_err(|status| failure(agent, office.doing, &status))?
        .into_inner();
    let shown = Transferred {
        moved: answer.moved,
        from: answer.from,
        to: args.host.clone(),
    };
    output.show(&shown, || render(office, &shown))
}

fn late(office: &Office, waited: Duration) -> Failure {
    Failure::new(
        "KHA0913",
        office.doing,
        format!("there was no answer within {} ms", waited.as_millis()),
        "`khactl status` shows who has it now",
    )
    .not_ready()
}

fn render(office: &Office, shown: &Transferred) -> String {
    if shown.moved {
        format!("{} from {} to {}", office.moved, shown.from, shown.to)
    } else {
        format!("{} {}: nothing to do", shown.to, office.had)
    }
}
