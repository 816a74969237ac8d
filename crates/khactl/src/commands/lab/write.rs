//! `khactl lab write`: creates ConfigMaps one after the other and reads each back.

use std::time::Duration;

use hyper::{Method, StatusCode};
use khactl_lab::measure::{Sample, SampleKind, now_us};
use tokio::time::MissedTickBehavior;

use super::api::Api;
use super::kubeconfig;
use super::probe::json;
use super::until_closed::until_closed;
use crate::cli::LabWriteArgs;
use crate::failure::Failure;
use crate::output::line;

pub(super) const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// What the ConfigMaps of all writers have.
pub(super) const LABEL: &str = "khactl-lab-write";
/// Short, so that a call that hangs on a dead host does not look like an outage of its length.
const TIMEOUT: Duration = Duration::from_secs(1);

pub(super) async fn run(args: &LabWriteArgs) -> Result<(), Failure> {
    let mut api = Api::new(kubeconfig::read(&args.kubeconfig)?, TIMEOUT);
    let mut tick = tokio::time::interval(Duration::from_millis(args.every_ms.max(1)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut closed = std::pin::pin!(until_closed());
    // Names of two runs never meet, so that every create is one of this run.
    let run = format!("{}-{:x}", args.prefix, now_us());
    let mut number: u64 = 0;
    loop {
        tokio::select! {
            biased;
            () = &mut closed => return Ok(()),
            _ = tick.tick() => {}
        }
        number += 1;
        let name = format!("{run}-{number}");
        let written = write(&mut api, &name, number).await;
        line(&json(&written))?;
        if written.ok {
            line(&json(&read(&mut api, &name).await))?;
        }
    }
}

async fn write(api: &mut Api, name: &str, number: u64) -> Sample {
    let body = serde_json::json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {LABEL: "true"}},
        "data": {"number": number.to_string()},
    });
    let at_us = now_us();
    let answer = api.call(Method::POST, CONFIG_MAPS, body.to_string()).await;
    sample(SampleKind::Write, name, at_us, answer, StatusCode::CREATED)
}

async fn read(api: &mut Api, name: &str) -> Sample {
    let path = format!("{CONFIG_MAPS}/{name}");
    let at_us = now_us();
    let answer = api.call(Method::GET, &path, String::new()).await;
    sample(SampleKind::Read, name, at_us, answer, StatusCode::OK)
}

fn sample(
    kind: SampleKind,
    name: &str,
    at_us: u64,
    answer: Result<(StatusCode, bytes::Bytes), String>,
    wanted: StatusCode,
) -> Sample {
    let error = match answer {
        Ok((status, _)) if status == wanted => String::new(),
        Ok((status, _)) => status.to_string(),
        Err(error) => error,
    };
    Sample {
        kind,
        at_us,
        took_us: now_us().saturating_sub(at_us),
        ok: error.is_empty(),
        name: name.into(),
        error,
    }
}
