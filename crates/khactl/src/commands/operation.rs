//! What `init` and `join` have in common: they follow an operation until it is done.

use std::time::Duration;

use khactl_lab::measure::now_us;
use khactl_proto::v1::Progress;
use khactl_proto::v1::progress::State;
use tonic::{Response, Status, Streaming};

use crate::connection::Agent;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Steps;
use crate::refusal::failure;
use crate::timespan;

/// Shows the progress of `operation` until it is done; `answer` is the call that starts it.
pub(super) async fn follow(
    operation: &'static str,
    agent: &Agent,
    answer: impl Future<Output = Result<Response<Streaming<Progress>>, Status>>,
    timeout: Duration,
    output: Output,
) -> Result<(), Failure> {
    let to_the_end = async {
        let refused = |status: Status| failure(agent, operation, &status);
        let mut stream = answer.await.map_err(refused)?.into_inner();
        let mut steps = Steps::new(operation, output.is_live(), || {
            Duration::from_micros(now_us())
        });
        while let Some(progress) = stream.message().await.map_err(refused)? {
            steps.show(&progress)?;
            if progress.state() == State::Done {
                return Ok(());
            }
        }
        Err(Failure::new(
            "KHA0907",
            operation,
            "the agent stopped before it was done",
            format!("run the same {operation} again: it goes on where it stopped"),
        ))
    };
    match tokio::time::timeout(timeout, to_the_end).await {
        Ok(ended) => ended,
        Err(_) => Err(Failure::new(
            "KHA0906",
            operation,
            format!("it is not ready after {}", timespan::show(timeout)),
            format!(
                "khactl status shows what it waits for; it goes on meanwhile, and the same {operation} \
                 run again follows it"
            ),
        )
        .not_ready()),
    }
}
