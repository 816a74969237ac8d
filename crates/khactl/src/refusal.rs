//! A call that the agent refused, or that did not reach it, as a failure of the command.

use khactl_proto::v1::Refusal;
use prost::Message;
use tonic::{Code, Status};

use crate::connection::Agent;
use crate::failure::{Exit, Failure};

/// `doing` names the command for the cases in which no agent said what it was doing.
pub(crate) fn failure(agent: &Agent, doing: &str, status: &Status) -> Failure {
    let refusal = Refusal::decode(status.details())
        .ok()
        .filter(|refusal| !refusal.code.is_empty());
    if let Some(refusal) = refusal {
        return Failure {
            code: refusal.code,
            doing: refusal.doing,
            wrong: refusal.wrong,
            advice: refusal.advice,
            exit: match status.code() {
                Code::DeadlineExceeded => Exit::NotReady,
                _ => Exit::Failed,
            },
        };
    }
    match status.code() {
        Code::Unavailable | Code::Cancelled | Code::Unknown => Failure::new(
            "KHA0907",
            doing,
            format!("the connection to the agent at {agent} ended"),
            "see whether khad runs (systemctl status khad), then run the command again",
        ),
        Code::Unimplemented => Failure::new(
            "KHA0908",
            doing,
            format!("the agent at {agent} does not know this command"),
            "install the same version of khactl and khad",
        ),
        code => Failure::new(
            "KHA0909",
            doing,
            format!(
                "the agent at {agent} answered {code:?}: {}",
                status.message()
            ),
            "look into the agent's log (journalctl -u khad)",
        ),
    }
}
