//! API servers that something else runs: whether they answer on their own, and through the VIP. Asked for people
//! only, by `preflight`, `init` and `join`; what decides where connections go are khavip's checks.

use khactl_host::HostError;
use khactl_host::probe::{Probe, Readiness};
use khactl_host::tls::{Alpn, TlsMaterial};
use khactl_model::spec::{ClusterSpec, HealthScheme, HealthSpec, Mode, ValidSpec};
use khactl_proto::v1::{Finding, finding::Level};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::health_ca;
use crate::node::Node;
use crate::operation::{Journal, Patience};
use crate::refused::{Refused, chain};
use crate::time;

/// An API server that serves answers within milliseconds; a busy host may take long for the first time.
const ANSWER: Duration = Duration::from_secs(3);
/// Nothing announces that an API server begins to answer.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The API servers that this host can know of: those that the spec lists, or its own.
fn known(spec: &ClusterSpec, own: IpAddr) -> Vec<SocketAddr> {
    let plane = &spec.control_plane;
    match &plane.external {
        Some(external) if !external.backends.is_empty() => external.backends.clone(),
        _ => vec![SocketAddr::new(own, plane.api_server.port)],
    }
}

/// What `preflight` finds: the file of authorities must be there, the API servers may come later.
pub async fn findings(spec: &ValidSpec, own: Option<IpAddr>) -> Vec<Finding> {
    let health = &spec.balancer.health;
    let mut findings = Vec::new();
    if !health.ca_file.is_empty()
        && let Err(wrong) = health_ca::read(&health.ca_file)
    {
        findings.push(Finding {
            level: Level::Blocking.into(),
            check: "authority".into(),
            finding: format!("spec.balancer.health.caFile: {wrong}"),
            cure: "put the authority of the API servers' certificates there, as PEM, on every host"
                .into(),
            code: "KHA1110".into(),
        });
        return findings;
    }
    let (Mode::External, Some(own)) = (spec.control_plane.mode, own) else {
        return findings;
    };
    for address in known(spec, own) {
        findings.push(match asked(health, address).await {
            Ok(()) => Finding {
                level: Level::Ok.into(),
                check: "backends".into(),
                finding: format!("the API server at {address} answers"),
                ..Finding::default()
            },
            Err(wrong) => Finding {
                level: Level::Warning.into(),
                check: "backends".into(),
                finding: format!("the API server at {address} does not pass its check: {wrong}"),
                cure: "nothing yet, if it comes up later: init ends and the VIP comes when one of them answers".into(),
                code: "KHA1111".into(),
            },
        });
    }
    findings
}

/// Asks one API server as khavip's check does.
///
/// # Errors
/// Why it does not pass, for people.
async fn asked(health: &HealthSpec, address: SocketAddr) -> Result<(), String> {
    let judge = if health.ca_file.is_empty() {
        None
    } else {
        Some(health_ca::read(&health.ca_file)?)
    };
    ask(health, address, judge).await
}

async fn ask(
    health: &HealthSpec,
    address: SocketAddr,
    ca_pem: Option<String>,
) -> Result<(), String> {
    let probe = match (health.scheme, ca_pem) {
        (HealthScheme::Http, _) => Ok(Probe::http(address, &health.path)),
        (HealthScheme::Https, None) => Probe::https_unjudged(address, &health.path),
        (HealthScheme::Https, Some(pem)) => judged(address, &health.path, pem),
    };
    match probe.map_err(|error| chain(&error))?.run(ANSWER).await {
        Readiness::Ready => Ok(()),
        Readiness::NotReady { reason } => Err(reason),
    }
}

fn judged(address: SocketAddr, path: &str, pem: String) -> Result<Probe, HostError> {
    let material = TlsMaterial {
        ca_pem: pem.into_bytes(),
        identity: None,
    };
    let tls = material.client_config("asking an API server", Alpn::HTTP_1)?;
    Ok(Probe::https(address, path, tls))
}

/// Waits, as the step `vip`, until an API server answers at every VIP.
///
/// # Errors
/// It did not come about in time.
pub async fn wait_for_vip(
    journal: &Journal<'_>,
    node: &Node,
    spec: &ValidSpec,
) -> Result<(), Refused> {
    const STEP: &str = "vip";
    journal.begin(STEP).await?;
    let mut patience = Patience::new(STEP);
    while let Err(missing) = answers_at_vip(node, spec).await {
        patience.still_missing(journal, &missing).await?;
        time::pause(ASK_AGAIN).await;
    }
    journal.finish(STEP).await?;
    if let Some(warning) = doubt(spec).await {
        journal.warn(STEP, &warning).await;
    }
    Ok(())
}

async fn answers_at_vip(node: &Node, spec: &ValidSpec) -> Result<(), String> {
    let vip = {
        let view = node.host_view.borrow();
        view.report.as_ref().and_then(|report| report.vip.clone())
    };
    let Some(vip) = vip else {
        return Err("khavip does not answer yet".into());
    };
    if !vip.backends.iter().any(|(_, healthy)| *healthy) {
        // khavip tells that they fail; why is quickly asked.
        let mut reasons = Vec::new();
        for address in known(spec, node.member.address) {
            if let Err(wrong) = asked(&spec.balancer.health, address).await {
                reasons.push(wrong);
            }
        }
        return Err(format!(
            "no API server passes its check yet: {}",
            reasons.join("; ")
        ));
    }
    if vip.holder.is_none() {
        return Err("no host holds it yet".into());
    }
    for address in at_vip(spec) {
        ask(&spec.balancer.health, address, None).await?;
    }
    Ok(())
}

fn at_vip(spec: &ValidSpec) -> impl Iterator<Item = SocketAddr> {
    let port = spec.balancer.port;
    let vips = spec.vip.addresses.iter();
    vips.map(move |vip| SocketAddr::new(vip.address(), port))
}

/// Clients judge the certificate by the name they call: one that is good for the host alone is no good at the VIP.
async fn doubt(spec: &ValidSpec) -> Option<String> {
    let health = &spec.balancer.health;
    let pem = health_ca::read(&health.ca_file).ok()?;
    for address in at_vip(spec) {
        if let Err(wrong) = ask(health, address, Some(pem.clone())).await {
            return Some(format!(
                "clients that call the VIP by its address will refuse the certificate of the API server: {wrong}. Add {} \
                 to its names (kubeadm: apiServer.certSANs)",
                address.ip()
            ));
        }
    }
    None
}
