//! The checks of this host, each with its finding and its cure. They change nothing.
//!
//! Those that may block are quick, and `init` and `join` make them too; those that measure take seconds and are made
//! when somebody asks for all.

mod bundle;
mod host;
mod paths;
mod question;
mod vip;

use khactl_host::bundle::host_arch;
use khactl_host::network;
use khactl_host::ports::{self, Protocol};
use khactl_model::spec::{
    AddressPrefix, ClusterSpec, Code, HostFactsForSpec, InterfaceFacts, Mode, SpecProblems,
    ValidSpec, check_on_host,
};
use khactl_plan::Delay;
use khactl_proto::v1::{Finding, finding::Level};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::agent::Agent;
use crate::carry::beside_khad;
use crate::delay;
use crate::external;
use crate::fencing;
use crate::refused::{Refused, chain};

pub use paths::from_here as paths_from;
pub use question::Question;

/// Below this the store, etcd and the logs have no room to live.
const DISK_LEAST: u64 = 512 << 20;
/// Below this an operator should think of more.
const DISK_GOOD: u64 = 4 << 30;

/// This host's own address.
///
/// # Errors
/// Nobody said which, and there is no default route to tell.
pub fn own_address(agent: &Agent, doing: &str) -> Result<IpAddr, Refused> {
    agent.config.advertise_address.ok_or_else(|| {
        Refused::new(
            "KHA1101",
            doing,
            "this host's own address is not known: it has no default route",
            "start khad with --advertise-address",
        )
    })
}

/// Which ports must be free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ports {
    /// Those of the agent and of all that it may run.
    All,
    /// The agent's own: what the cluster runs is not known yet.
    Agents,
    /// All but the one that the agent itself holds now.
    BesideAgent,
}

/// Every check. Without a spec those that need none.
pub async fn findings(agent: &Agent, question: &Question) -> Vec<Finding> {
    let Question {
        spec_yaml, file, ..
    } = question;
    let parsed = (!spec_yaml.is_empty()).then(|| ClusterSpec::parse(spec_yaml));
    let (spec, mut all) = match &parsed {
        None => (None, Vec::new()),
        Some(Ok(spec)) => (Some(spec), Vec::new()),
        Some(Err(problems)) => {
            let wrong = problems
                .problems
                .iter()
                .map(|p| blocking("spec", &p.code.to_string(), format!("{file}:{p}"), &p.cure));
            (None, wrong.collect())
        }
    };
    all.extend(check(agent, spec, file, Ports::All).await);
    if question.joins
        && let Some(spec) = spec
        && crate::bundle::will_come(spec, host_arch()).await
    {
        let folder = spec.control_plane.bundle.as_deref();
        bundle::excuse(&mut all, folder.unwrap_or_default());
    }
    // Apart from the measurement of delays, which the disk would be in the way of.
    let (measured, paths, vip) = tokio::join!(
        host::measured(agent, spec),
        paths::tried(agent, spec, &question.peers),
        vip::findings(agent, spec, question.joins),
    );
    all.extend(measured);
    all.extend(paths.findings);
    all.extend(vip);
    let lease_ms = spec.map(|spec| spec.vip.lease_ms());
    all.extend(
        delays(agent, paths.round_trip_us)
            .await
            .map(|measured| delay::finding(&measured, lease_ms)),
    );
    all
}

/// What this host's khavip has measured, if it takes part in a lease; else a measurement, with the round trip to a majority
/// in microseconds where it is known.
async fn delays(agent: &Agent, round_trip_us: Option<u32>) -> Option<delay::Measured> {
    let told = agent.node().and_then(|node| {
        let view = node.vip_view.borrow();
        let vip = view.fact.as_ref()?;
        let delay = Delay::of(vip).filter(|delay| delay.round_trip_us > 0)?;
        Some(delay::Measured {
            delay,
            refused: (!vip.realtime).then(|| "khavip did not get it".to_owned()),
            answered: true,
        })
    });
    match told {
        Some(told) => Some(told),
        None => delay::measure(round_trip_us).await,
    }
}

/// Refuses, with every blocking finding, if there is one.
///
/// # Errors
/// What blocks.
pub async fn refuse_blocking(
    agent: &Agent,
    spec: Option<&ValidSpec>,
    file: &str,
    doing: &str,
) -> Result<(), Refused> {
    own_address(agent, doing)?;
    // Before a join the spec is not known: what listens here may well be what an external mode is for.
    let ports = spec.map_or(Ports::Agents, |_| Ports::All);
    refuse(check(agent, spec, file, ports).await, doing)
}

/// The same while this agent itself holds its port. A bundle that is missing blocks nothing where a member has one for
/// this processor, `member_arch`: it is fetched from there.
///
/// # Errors
/// What blocks.
pub async fn refuse_blocking_beside_agent_port(
    agent: &Agent,
    spec: &ValidSpec,
    member_arch: &str,
    doing: &str,
) -> Result<(), Refused> {
    let mut findings = check(agent, Some(spec), "the cluster's spec", Ports::BesideAgent).await;
    if crate::bundle::will_come(spec, member_arch).await {
        findings.retain(|finding| finding.code != bundle::MISSING);
    }
    refuse(findings, doing)
}

/// A spec's mistakes as one refusal.
pub fn spec_refused(problems: &SpecProblems, file: &str, doing: &str) -> Refused {
    let code = match problems.problems.as_slice() {
        [only] => only.code.to_string(),
        _ => "KHA1000".to_owned(),
    };
    let name = if file.is_empty() {
        "cluster.yaml"
    } else {
        file
    };
    Refused::new(
        &code,
        doing,
        problems.clone().in_file(name),
        "correct the spec; nothing was changed",
    )
}

fn refuse(findings: Vec<Finding>, doing: &str) -> Result<(), Refused> {
    let blocking: Vec<_> = findings
        .into_iter()
        .filter(|f| f.level() == Level::Blocking)
        .collect();
    let lines = |text: fn(&Finding) -> &str| {
        let mut lines: Vec<&str> = blocking.iter().map(text).collect();
        lines.dedup();
        lines.join("\n")
    };
    match blocking.as_slice() {
        [] => Ok(()),
        [only] => Err(Refused::new(
            &only.code,
            doing,
            &only.finding,
            only.cure.clone(),
        )),
        _ => Err(Refused::new(
            "KHA1100",
            doing,
            lines(|f| &f.finding),
            lines(|f| &f.cure),
        )),
    }
}

async fn check(agent: &Agent, spec: Option<&ValidSpec>, file: &str, ports: Ports) -> Vec<Finding> {
    let mut findings = Vec::new();
    let member = agent.node().is_some();
    findings.extend(host::seen(agent, spec).await);
    findings.push(address(agent));
    findings.extend(disk(agent));
    if member {
        findings.push(fine(
            "ports",
            "this host is a member: its ports are its own",
        ));
    } else {
        findings.extend(free_ports(agent, spec, ports).await);
    }
    if let Some(spec) = spec {
        findings.extend(on_host(agent, spec, file));
        findings.extend(bundle::findings(spec).await);
        findings.extend(external::findings(spec, agent.config.advertise_address).await);
    }
    findings.push(fencing::finding(&beside_khad("khavip")).await);
    findings
}

/// A judgement as it travels.
fn judged(found: khactl_plan::preflight::Finding) -> Finding {
    use khactl_plan::preflight::Level as Weight;
    let level = match found.level {
        Weight::Fine => Level::Ok,
        Weight::Info => Level::Info,
        Weight::Warning => Level::Warning,
        Weight::Blocking => Level::Blocking,
    };
    Finding {
        level: level.into(),
        check: found.check.into(),
        finding: found.finding,
        cure: found.cure,
        code: found.code.into(),
    }
}

fn fine(check: &str, finding: impl Into<String>) -> Finding {
    Finding {
        level: Level::Ok.into(),
        check: check.into(),
        finding: finding.into(),
        cure: String::new(),
        code: String::new(),
    }
}

fn blocking(check: &str, code: &str, finding: impl Into<String>, cure: &str) -> Finding {
    Finding {
        level: Level::Blocking.into(),
        check: check.into(),
        finding: finding.into(),
        cure: cure.into(),
        code: code.into(),
    }
}

fn address(agent: &Agent) -> Finding {
    let Some(address) = agent.config.advertise_address else {
        return blocking(
            "address",
            "KHA1101",
            "this host's own address is not known: it has no default route",
            "start khad with --advertise-address",
        );
    };
    let interfaces = match network::interfaces() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            return blocking("address", "KHA1102", chain(&error), "run khad as root");
        }
    };
    match network::interface_of(&interfaces, address) {
        Some((interface, prefix)) => fine(
            "address",
            format!("{address}/{prefix} on {}", interface.name),
        ),
        None => blocking(
            "address",
            "KHA1102",
            format!("no interface of this host has {address}"),
            "start khad with an address of this host (--advertise-address)",
        ),
    }
}

fn disk(agent: &Agent) -> Vec<Finding> {
    match network::disk_space(&agent.config.data_dir) {
        Ok(space) if space.free < DISK_LEAST => vec![blocking(
            "disk",
            "KHA1103",
            format!(
                "{} has {} MiB free, and {} MiB are needed",
                agent.config.data_dir.display(),
                space.free >> 20,
                DISK_LEAST >> 20
            ),
            "free space there, or move --data-dir",
        )],
        Ok(space) if space.free < DISK_GOOD => vec![Finding {
            level: Level::Warning.into(),
            check: "disk".into(),
            finding: format!("only {} MiB are free for data", space.free >> 20),
            cure: "give it some GiB: etcd alone may grow to 2 GiB".into(),
            code: "KHA1104".into(),
        }],
        Ok(space) => vec![fine("disk", format!("{} GiB free", space.free >> 30))],
        Err(error) => vec![blocking(
            "disk",
            "KHA1103",
            chain(&error),
            "see that the folder can be read",
        )],
    }
}

async fn free_ports(agent: &Agent, spec: Option<&ValidSpec>, which: Ports) -> Vec<Finding> {
    let Some(own) = agent.config.advertise_address else {
        return Vec::new();
    };
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    let mut wanted = Vec::new();
    if which != Ports::BesideAgent {
        wanted.push((Protocol::Tcp, own, khactl_model::AGENT_PORT, "khad"));
    }
    wanted.push((Protocol::Udp, own, khactl_model::AGENT_PORT, "khavip"));
    let managed = spec.is_none_or(|s| s.control_plane.mode == Mode::Managed);
    let balancer = spec.map_or(6443, |s| s.balancer.port);
    if which != Ports::Agents {
        wanted.push((Protocol::Tcp, loopback, balancer, "the balancer"));
    }
    if managed && which != Ports::Agents {
        let api = spec.map_or(6443, |s| s.control_plane.api_server.port);
        wanted.extend([
            (Protocol::Tcp, own, api, "kube-apiserver"),
            (Protocol::Tcp, own, 2379, "etcd"),
            (Protocol::Tcp, own, 2380, "etcd"),
            (Protocol::Tcp, loopback, 2379, "etcd"),
            (Protocol::Tcp, loopback, 2381, "etcd"),
            (Protocol::Tcp, loopback, 10257, "kube-controller-manager"),
            (Protocol::Tcp, loopback, 10259, "kube-scheduler"),
        ]);
    }
    let mut findings = Vec::new();
    for (protocol, address, port, whom) in wanted {
        let at = SocketAddr::new(address, port);
        match ports::holder(protocol, at).await {
            Ok(None) => {}
            Ok(Some(holder))
                if !managed && port == balancer && holder.address.ip().is_unspecified() =>
            {
                findings.push(blocking(
                    "ports",
                    &Code::PortTaken.to_string(),
                    format!(
                        "port {port} is needed for {whom}, and {holder} listens there on every address, the VIP too"
                    ),
                    "if that is the API server, as kubeadm sets it up, give the balancer a port of its own: balancer.port: \
                     8443",
                ));
            }
            Ok(Some(holder)) => findings.push(blocking(
                "ports",
                "KHA1105",
                format!("port {port} is needed for {whom} and taken by {holder}"),
                "stop it, or give it another port",
            )),
            Err(error) => findings.push(blocking(
                "ports",
                "KHA1105",
                chain(&error),
                "run khad as root",
            )),
        }
    }
    if findings.is_empty() {
        findings.push(fine("ports", "all that are needed are free"));
    }
    findings
}

fn on_host(agent: &Agent, spec: &ValidSpec, file: &str) -> Vec<Finding> {
    let interfaces = network::interfaces()
        .unwrap_or_default()
        .into_iter()
        .map(|interface| InterfaceFacts {
            addresses: interface
                .addresses
                .iter()
                .filter_map(|(address, prefix)| AddressPrefix::new(*address, *prefix).ok())
                .collect(),
            name: interface.name,
            up: interface.up,
        })
        .collect();
    let problems = check_on_host(
        spec,
        &HostFactsForSpec {
            interfaces,
            own_address: agent.config.advertise_address,
            // Asked one by one above, with who holds them.
            listeners: Vec::new(),
        },
    );
    if problems.is_empty() {
        return vec![fine("spec", "valid, and it fits this host")];
    }
    let name = if file.is_empty() {
        "cluster.yaml"
    } else {
        file
    };
    problems
        .iter()
        .map(|p| blocking("spec", &p.code.to_string(), format!("{name}:{p}"), &p.cure))
        .collect()
}
