//! `khactl kubeconfig`.

use khactl_proto::v1::KubeconfigRequest;
use serde::Serialize;

use crate::cli::{Format, KubeconfigArgs};
use crate::connection::Agent;
use crate::failure::Failure;
use crate::output::{Output, bytes};
use crate::refusal::failure;

/// A kubeconfig is YAML already; JSON programs get it as text.
#[derive(Serialize)]
struct Kubeconfig {
    kubeconfig: String,
}

pub(super) async fn run(
    agent: &Agent,
    args: &KubeconfigArgs,
    output: Output,
) -> Result<(), Failure> {
    let request = KubeconfigRequest {
        user: args.user.clone().unwrap_or_default(),
    };
    let kubeconfig = agent
        .connect()
        .await?
        .kubeconfig(request)
        .await
        .map_err(|status| failure(agent, "make a kubeconfig", &status))?
        .into_inner()
        .yaml;
    match output.format {
        Format::Table | Format::Yaml => bytes(kubeconfig.as_bytes()),
        Format::Json => output.show(&Kubeconfig { kubeconfig }, String::new),
    }
}
