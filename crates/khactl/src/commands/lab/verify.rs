//! `khactl lab verify`: is every write that was acknowledged still there?

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use hyper::{Method, StatusCode};
use khactl_lab::measure::{Sample, SampleKind, now_us};
use serde::{Deserialize, Serialize};

use super::api::Api;
use super::kubeconfig;
use super::write::{CONFIG_MAPS, LABEL};
use crate::cli::LabVerifyArgs;
use crate::failure::{Exit, Failure, chain};
use crate::output::Output;

/// A list of a long test's ConfigMaps on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The API may still be on its way back.
const WAIT: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(200);

/// What was acknowledged, and what of it is not there.
#[derive(Debug, Serialize)]
struct Verdict {
    acknowledged: usize,
    lost: Vec<String>,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

pub(super) async fn run(args: &LabVerifyArgs, output: Output) -> Result<ExitCode, Failure> {
    let acknowledged = acknowledged(args)?;
    let mut api = Api::new(kubeconfig::read(&args.kubeconfig)?, TIMEOUT);
    let there = list(&mut api).await?;
    let verdict = Verdict {
        acknowledged: acknowledged.len(),
        lost: acknowledged.difference(&there).cloned().collect(),
    };
    output.show(&verdict, || render(&verdict))?;
    Ok(if verdict.lost.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(Exit::Failed as u8)
    })
}

fn render(verdict: &Verdict) -> String {
    let mut lines = vec![format!(
        "{} writes acknowledged, {} lost",
        verdict.acknowledged,
        verdict.lost.len()
    )];
    lines.extend(verdict.lost.iter().map(|name| format!("  lost: {name}")));
    lines.join("\n")
}

fn acknowledged(args: &LabVerifyArgs) -> Result<BTreeSet<String>, Failure> {
    let text = std::fs::read_to_string(&args.written).map_err(|error| {
        Failure::new(
            "KHA0903",
            format!("read {}", args.written.display()),
            chain(&error),
            "it must be what khactl lab write printed",
        )
    })?;
    Ok(text
        .lines()
        .filter_map(|line| serde_json::from_str::<Sample>(line).ok())
        .filter(|sample| sample.ok && sample.kind == SampleKind::Write)
        .map(|sample| sample.name)
        .collect())
}

/// A list without a resource version is read from a quorum of etcd, not from a cache.
async fn list(api: &mut Api) -> Result<BTreeSet<String>, Failure> {
    let path = format!("{CONFIG_MAPS}?labelSelector={LABEL}%3Dtrue");
    let deadline_us = now_us() + khactl_lab::measure::micros(WAIT);
    loop {
        let wrong = match api.call(Method::GET, &path, String::new()).await {
            Ok((StatusCode::OK, body)) => match serde_json::from_slice::<List>(&body) {
                Ok(list) => return Ok(list.items.into_iter().map(|i| i.metadata.name).collect()),
                Err(error) => chain(&error),
            },
            Ok((status, _)) => status.to_string(),
            Err(error) => error,
        };
        if now_us() >= deadline_us {
            return Err(Failure::new(
                "KHA0927",
                "list the ConfigMaps",
                wrong,
                "see whether the API answers: kubectl get --raw /readyz",
            )
            .not_ready());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
