//! `khactl vip backends`: what the balancer of a host does, backend by backend.

use khactl_proto::v1::{BackendsRequest, BackendsResponse, VipBackendStatus};
use serde::Serialize;

use crate::connection::Agent;
use crate::failure::Failure;
use crate::output::{Output, table};
use crate::refusal::failure;

/// As programs get it.
#[derive(Serialize)]
struct Shown {
    connections: u64,
    connections_max: u64,
    half_open: u64,
    half_open_ended: u64,
    backends: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    host: String,
    address: String,
    state: &'static str,
    reason: String,
    weight: u32,
    connections_open: u64,
    connections_total: u64,
    connects_failed: u64,
    connections_unanswered: u64,
    bytes_to_backend: u64,
    bytes_to_client: u64,
}

pub(super) async fn run(agent: &Agent, output: Output) -> Result<(), Failure> {
    let answer = agent
        .connect()
        .await?
        .backends(BackendsRequest {})
        .await
        .map_err(|status| failure(agent, "show the balancer", &status))?
        .into_inner();
    let shown = shown(answer);
    output.show(&shown, || render(&shown))
}

fn shown(answer: BackendsResponse) -> Shown {
    Shown {
        connections: answer.connections,
        connections_max: answer.connections_max,
        half_open: answer.half_open,
        half_open_ended: answer.half_open_ended,
        backends: answer.backends.into_iter().map(row).collect(),
    }
}

fn row(status: VipBackendStatus) -> Row {
    Row {
        state: match (status.healthy, status.draining, status.suspect) {
            (false, _, _) => "unhealthy",
            (true, true, _) => "draining",
            (true, false, true) => "suspect",
            (true, false, false) => "healthy",
        },
        host: status.host,
        address: status.address,
        reason: status.reason,
        weight: status.weight,
        connections_open: status.connections_open,
        connections_total: status.connections_total,
        connects_failed: status.connects_failed,
        connections_unanswered: status.connections_unanswered,
        bytes_to_backend: status.bytes_to_backend,
        bytes_to_client: status.bytes_to_client,
    }
}

fn render(shown: &Shown) -> String {
    let rows = shown.backends.iter().map(|backend| {
        vec![
            backend.host.clone(),
            backend.address.clone(),
            backend.state.to_owned(),
            backend.weight.to_string(),
            backend.connections_open.to_string(),
            backend.connections_total.to_string(),
            backend.connects_failed.to_string(),
            backend.connections_unanswered.to_string(),
            mebibytes(backend.bytes_to_backend),
            mebibytes(backend.bytes_to_client),
            backend.reason.clone(),
        ]
    });
    let header = [
        "HOST",
        "ADDRESS",
        "STATE",
        "WEIGHT",
        "OPEN",
        "TOTAL",
        "FAILED",
        "UNANSWERED",
        "MIB TO IT",
        "MIB FROM IT",
        "WHY",
    ];
    format!(
        "{}\n\n{} connections of {} that there may be, {} of them from clients that have said nothing; {} were reset for that",
        table(&header, rows),
        shown.connections,
        shown.connections_max,
        shown.half_open,
        shown.half_open_ended
    )
}

/// Tenths are enough for who reads it; programs get bytes.
fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_in_tenths_of_a_mebibyte() {
        assert_eq!(mebibytes(0), "0.0");
        assert_eq!(mebibytes(3 << 20), "3.0");
        assert_eq!(mebibytes((5 << 20) / 2), "2.5");
    }
}
