//! The status as people read it: what the cluster is, then what is wrong with it.

use std::time::Duration;

use jiff::Timestamp;
use khactl_model::facts::ComponentState;
use khactl_model::status::{ClusterStatus, OperationStatus, Problem};

use crate::output::table;
use crate::timespan;

/// A certificate that ends within this is shown: renewal at two thirds of a year should have
/// come long before.
const CERTIFICATE_SOON: Duration = Duration::from_hours(24 * 30);

pub(super) fn render(status: &ClusterStatus, now: Timestamp) -> String {
    let sections = [
        head(status),
        hosts(status),
        without_vip(status),
        waiting(status),
        components(status),
        crashes(status),
        operations(&status.operations, now),
        certificates(status, now),
        problems(&status.problems),
    ];
    let shown: Vec<_> = sections.into_iter().filter(|s| !s.is_empty()).collect();
    shown.join("\n\n")
}

fn head(status: &ClusterStatus) -> String {
    let leader = match &status.leader {
        Some(leader) => format!("led by {leader} (term {})", status.term),
        None => format!("without a leader, as {} sees it", status.seen_by),
    };
    let vip = &status.vip;
    let holder = match &vip.holder {
        Some(holder) => format!("on {holder}"),
        None => "on no host".into(),
    };
    let fencing = match vip.fencing.as_str() {
        "" => String::new(),
        fencing => format!(" ({fencing})"),
    };
    let cluster = format!(
        "cluster  {}: {leader}, spec revision {}",
        status.cluster, status.revision
    );
    if vip.addresses.is_empty() {
        return cluster;
    }
    let lease = match (vip.lease_ms, vip.bears.as_str()) {
        (0, _) => String::new(),
        (ms, "") => format!(", lease {ms} ms"),
        (ms, bears) => format!(", lease {ms} ms, the hosts bear {bears}"),
    };
    format!(
        "{cluster}\nvip      {} port {} {holder}{fencing}{lease}",
        vip.addresses.join(", "),
        vip.port
    )
}

fn waiting(status: &ClusterStatus) -> String {
    match status.waiting.as_str() {
        "" => String::new(),
        why => format!("membership waits: {why}"),
    }
}

/// Why hosts do not hold it, where that is more than that another one does.
fn without_vip(status: &ClusterStatus) -> String {
    let holder = status.vip.holder.as_deref().unwrap_or_default();
    let usual = format!("{holder} holds it");
    let lines: Vec<_> = status
        .hosts
        .iter()
        .filter(|host| !matches!(host.vip.as_str(), "" | "holds") && host.vip != usual)
        .map(|host| format!("vip not on {}: {}", host.name, host.vip))
        .collect();
    lines.join("\n")
}

fn hosts(status: &ClusterStatus) -> String {
    if status.hosts.is_empty() {
        return String::new();
    }
    let rows = status.hosts.iter().map(|host| {
        vec![
            host.name.clone(),
            host.address.clone(),
            host.role.clone(),
            host.state.clone(),
            host.raft.clone(),
            host.etcd.clone(),
            if host.lease { "member" } else { "absent" }.into(),
            or_dash(&host.version),
        ]
    });
    table(
        &[
            "HOST", "ADDRESS", "ROLE", "STATE", "RAFT", "ETCD", "LEASE", "KHAD",
        ],
        rows,
    )
}

fn components(status: &ClusterStatus) -> String {
    if status.components.is_empty() {
        return String::new();
    }
    let rows = status.components.iter().map(|component| {
        vec![
            component.host.clone(),
            component.name.clone(),
            state(component.state).into(),
            component.pid.map_or("-".into(), |pid| pid.to_string()),
            component.detail.replace('\n', "; "),
        ]
    });
    table(&["HOST", "COMPONENT", "STATE", "PID", ""], rows)
}

/// The last words of what ends again and again, or waits to be started again.
fn crashes(status: &ClusterStatus) -> String {
    let shown: Vec<_> = status
        .components
        .iter()
        .filter_map(|component| {
            let crash = component.crash.as_ref()?;
            let waits = component.state == ComponentState::BackOff;
            if !crash.looping && !waits {
                return None;
            }
            let times = match crash.ends {
                1 => "ended soon after its start".to_owned(),
                ends => format!("ended {ends} times in a row soon after its start"),
            };
            let mut text = format!(
                "{} on {} {times}: {}",
                component.name, component.host, crash.how
            );
            if let Some(cause) = &crash.cause {
                text = format!("{text}\n  probable cause: {} ({})", cause.text, cause.code);
            }
            for line in &crash.last_lines {
                text = format!("{text}\n  | {line}");
            }
            Some(text)
        })
        .collect();
    shown.join("\n")
}

fn state(state: ComponentState) -> &'static str {
    match state {
        ComponentState::Ready => "ready",
        ComponentState::Starting => "starting",
        ComponentState::Waiting => "waiting",
        ComponentState::BackOff => "back-off",
        ComponentState::Absent => "absent",
    }
}

fn operations(operations: &[OperationStatus], now: Timestamp) -> String {
    let mut rows = operations
        .iter()
        .filter(|operation| operation.state != "done")
        .map(|operation| {
            let age_ms = now.as_millisecond().saturating_sub(operation.started_at_ms);
            let age = Duration::from_millis(u64::try_from(age_ms).unwrap_or(0));
            vec![
                operation.id.to_string(),
                operation.kind.clone(),
                operation.host.clone(),
                operation.state.clone(),
                operation.step.clone(),
                timespan::show(age),
            ]
        })
        .peekable();
    if rows.peek().is_none() {
        return String::new();
    }
    table(
        &["OPERATION", "KIND", "HOST", "STATE", "STEP", "SINCE"],
        rows,
    )
}

fn certificates(status: &ClusterStatus, now: Timestamp) -> String {
    let soon_s = i64::try_from(CERTIFICATE_SOON.as_secs()).unwrap_or(i64::MAX);
    let mut rows = status
        .certificates
        .iter()
        .map(|certificate| (certificate, certificate.not_after_s - now.as_second()))
        .filter(|(_, left_s)| *left_s < soon_s)
        .map(|(certificate, left_s)| {
            let left = match u64::try_from(left_s) {
                Ok(left_s) => timespan::show(Duration::from_secs(left_s)),
                Err(_) => "expired".into(),
            };
            vec![certificate.host.clone(), certificate.name.clone(), left]
        })
        .peekable();
    if rows.peek().is_none() {
        return String::new();
    }
    table(&["HOST", "CERTIFICATE", "ENDS IN"], rows)
}

fn problems(problems: &[Problem]) -> String {
    if problems.is_empty() {
        return "no problems".into();
    }
    let shown: Vec<_> = problems
        .iter()
        .map(|problem| {
            let host = match problem.host.as_str() {
                "" => String::new(),
                host => format!("{host}: "),
            };
            let text = problem.text.replace('\n', "\n  ");
            let code = match problem.code.as_str() {
                "" => String::new(),
                code => format!(" ({code})"),
            };
            match problem.advice.as_str() {
                "" => format!("problem: {host}{text}{code}"),
                advice => format!("problem: {host}{text}{code}\n  try: {advice}"),
            }
        })
        .collect();
    shown.join("\n")
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.into()
}

#[cfg(test)]
mod tests {
    use khactl_model::facts::{CauseFact, CrashFact};
    use khactl_model::status::{CertificateStatus, ComponentStatus, HostStatus, VipStatus};

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap()
    }

    fn host(octet: u8, state: &str) -> HostStatus {
        HostStatus {
            name: format!("cp{octet}"),
            address: format!("10.77.0.1{octet}"),
            role: "control-plane".into(),
            state: state.into(),
            raft: "voter".into(),
            etcd: "voter".into(),
            lease: octet < 3,
            vip: match octet {
                1 => "cp2 holds it".into(),
                2 => "holds".into(),
                _ => "eth0 has no carrier".into(),
            },
            version: "0.1.0".into(),
        }
    }

    fn example() -> ClusterStatus {
        ClusterStatus {
            cluster: "prod".into(),
            cluster_id: "0123".into(),
            revision: 1,
            leader: Some("cp1".into()),
            term: 3,
            vip: VipStatus {
                addresses: vec!["10.77.0.100/24".into()],
                port: 6443,
                holder: Some("cp2".into()),
                epoch: 2,
                fencing: "kernel gate".into(),
                lease_ms: 250,
                bears: "fast".into(),
            },
            hosts: vec![host(1, "ready"), host(2, "ready"), host(3, "joining")],
            components: vec![
                ComponentStatus {
                    host: "cp1".into(),
                    name: "etcd".into(),
                    state: ComponentState::Ready,
                    detail: String::new(),
                    pid: Some(4711),
                    crash: None,
                },
                ComponentStatus {
                    host: "cp3".into(),
                    name: "kube-apiserver".into(),
                    state: ComponentState::Waiting,
                    detail: "etcd is a learner".into(),
                    pid: None,
                    crash: None,
                },
            ],
            etcd: vec![],
            certificates: vec![CertificateStatus {
                host: "cp1".into(),
                name: "apiserver".into(),
                not_after_s: 1_700_400_000,
            }],
            operations: vec![OperationStatus {
                id: 4,
                kind: "join".into(),
                host: "cp3".into(),
                state: "running".into(),
                step: "etcd-voter".into(),
                started_at_ms: 1_699_999_910_000,
            }],
            waiting: "cp3 joins the lease when older leases have run out".into(),
            problems: vec![Problem {
                code: "KHA3101".into(),
                host: "cp3".into(),
                text: "etcd has been a learner for 90 s".into(),
                advice: "look into its log: khactl logs etcd --host cp3".into(),
            }],
            seen_by: "cp1".into(),
        }
    }

    #[test]
    fn status_of_a_cluster_that_grows() {
        insta::assert_snapshot!(render(&example(), now()));
    }

    #[test]
    fn last_words_of_a_crash_loop_are_shown_and_those_of_one_mishap_are_not() {
        let mut status = example();
        let crash = |ends| CrashFact {
            how: "exit code 1".into(),
            ends,
            looping: ends >= 3,
            cause: Some(CauseFact {
                code: "KHA3121".into(),
                text: "its port is taken: bind: address already in use".into(),
                advice: "see who has it".into(),
            }),
            last_lines: vec![
                "I1123 starting".into(),
                "bind: address already in use".into(),
            ],
        };
        status.components[0].crash = Some(crash(1));
        status.components[1].crash = Some(crash(4));
        insta::assert_snapshot!(crashes(&status), @r"
        kube-apiserver on cp3 ended 4 times in a row soon after its start: exit code 1
          probable cause: its port is taken: bind: address already in use (KHA3121)
          | I1123 starting
          | bind: address already in use
        ");
    }

    #[test]
    fn status_of_a_cluster_without_a_leader() {
        let mut status = example();
        status.leader = None;
        status.vip.holder = None;
        status.operations.clear();
        status.waiting.clear();
        status.certificates.clear();
        status.problems.clear();
        insta::assert_snapshot!(render(&status, now()));
    }
}
