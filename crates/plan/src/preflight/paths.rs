//! Whether hosts reach each other at the ports they need, with packets of the size they send.

use khactl_model::AGENT_PORT;
use khactl_model::preflight::{FullSize, PathFacts, PortAnswer};
use std::collections::BTreeSet;

use super::{Finding, Level};

const CHECK: &str = "paths";
/// Ports of a host that answers otherwise are closed to this one.
const FILTERED: &str = "KHA1130";
/// A host answers at nothing.
const SILENT: &str = "KHA1131";
/// Full-size packets vanish.
const LOST: &str = "KHA1132";
/// Only smaller packets pass, and senders are told.
const SMALLER: &str = "KHA1133";
/// A member could not be asked for its own paths.
const UNASKED: &str = "KHA1134";
/// The lease's datagrams do not come.
const NO_DATAGRAMS: &str = "KHA1135";
/// Those to a host that is not a member yet vanish.
const DATAGRAMS_LOST: &str = "KHA1137";

/// A member is heard many times in a lease; so long without a word is no jitter. In milliseconds.
const LEASE_SILENT_MS_MAX: u32 = 10_000;

/// What follows from the paths that were tried. `members`: the hosts are a cluster already, so that nothing waits for
/// these findings any more; else a path that is closed would end a join in the middle.
pub fn judge(paths: &[PathFacts], members: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in paths {
        if is_silent(path) {
            findings.push(silent(path));
            continue;
        }
        findings.extend(filtered(path, members));
        findings.extend(full_size(path));
        findings.extend(no_datagrams(path));
        findings.extend(datagrams_lost(path));
    }
    if findings.iter().all(|finding| finding.level == Level::Info) && !paths.is_empty() {
        findings.insert(0, open(paths));
    }
    findings
}

/// A member whose own paths are not known, and why not.
pub fn unasked(host: &str, why: &str) -> Finding {
    Finding::new(
        Level::Info,
        CHECK,
        UNASKED,
        format!("{host} could not be asked how it reaches the others: {why}"),
        "mend what keeps it away (`khactl status`), or run `khactl preflight` there",
    )
}

fn open(paths: &[PathFacts]) -> Finding {
    let ports: BTreeSet<u16> = paths
        .iter()
        .flat_map(|path| path.ports.keys().copied())
        .collect();
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let largest = paths
        .iter()
        .filter_map(|path| match path.full_size {
            FullSize::Passes { mtu } => Some(mtu),
            _ => None,
        })
        .min();
    let size = largest.map_or_else(
        || "; the size of packets could not be tried".to_owned(),
        |mtu| format!(", with packets of {mtu} bytes"),
    );
    let count = match paths.len() {
        1 => "the path".to_owned(),
        several => format!("all {several} paths"),
    };
    Finding::fine(
        CHECK,
        format!(
            "{count} to other hosts open at {} tcp{size}",
            ports.join(", ")
        ),
    )
}

/// Nothing of it came back: a host that is off says as little as one that is cut off.
fn is_silent(path: &PathFacts) -> bool {
    let echoed = matches!(
        path.full_size,
        FullSize::Passes { .. } | FullSize::Smaller { .. } | FullSize::Lost { .. }
    );
    !echoed && path.ports.values().all(|answer| !answered(answer))
}

fn answered(answer: &PortAnswer) -> bool {
    matches!(answer, PortAnswer::Open | PortAnswer::Refused)
}

fn silent(path: &PathFacts) -> Finding {
    let reason = path.ports.values().find_map(|answer| match answer {
        PortAnswer::NoWay(reason) => Some(format!(": {reason}")),
        _ => None,
    });
    Finding::new(
        Level::Warning,
        CHECK,
        SILENT,
        format!(
            "{} does not answer{}",
            way(path),
            reason.unwrap_or_default()
        ),
        "is that host up, and is this its address? If it is: the routes and firewalls between the two",
    )
}

/// Some ports answer, or the host does; others say nothing.
fn filtered(path: &PathFacts, members: bool) -> Option<Finding> {
    let closed: Vec<String> = path
        .ports
        .iter()
        .filter(|(_, answer)| !answered(answer))
        .map(|(port, _)| port.to_string())
        .collect();
    if closed.is_empty() {
        return None;
    }
    let level = if members {
        Level::Warning
    } else {
        Level::Blocking
    };
    let closed = closed.join(", ");
    Some(Finding::new(
        level,
        CHECK,
        FILTERED,
        format!("{} answers, and not at {closed} tcp", way(path)),
        format!(
            "open {closed} tcp and {AGENT_PORT} udp in the firewalls of both hosts and between them"
        ),
    ))
}

fn full_size(path: &PathFacts) -> Option<Finding> {
    match &path.full_size {
        FullSize::Lost { mtu } => Some(Finding::new(
            Level::Warning,
            CHECK,
            LOST,
            format!(
                "{}: packets of {mtu} bytes that nobody may cut vanish, small ones come through; connections will stand still in the middle",
                way(path)
            ),
            "give the interfaces of all hosts the size that the network between them carries (`ip link set NAME mtu BYTES`), or let \
             ICMP through that says so",
        )),
        FullSize::Smaller { mtu, passes } => Some(Finding::new(
            Level::Info,
            CHECK,
            SMALLER,
            format!(
                "{}: packets of {mtu} bytes are too large on the way, {passes} pass, and senders are told so",
                way(path)
            ),
            "nothing must be done; the interfaces' mtu may be set to what passes",
        )),
        FullSize::Passes { .. } | FullSize::Silent | FullSize::Untried(_) => None,
    }
}

fn no_datagrams(path: &PathFacts) -> Option<Finding> {
    let silent_ms = path.lease_silent_ms?;
    let open = path.ports.get(&AGENT_PORT) == Some(&PortAnswer::Open);
    (open && silent_ms > LEASE_SILENT_MS_MAX).then(|| {
        let since = match silent_ms {
            u32::MAX => "never came".to_owned(),
            ms => format!("have not come for {} s", ms / 1_000),
        };
        Finding::new(
            Level::Warning,
            CHECK,
            NO_DATAGRAMS,
            format!(
                "{} answers at {AGENT_PORT} tcp, and its datagrams of the lease {since}: its voice does not count for the VIP here",
                way(path)
            ),
            format!(
                "open {AGENT_PORT} udp between the hosts; see whether khavip runs there (`khactl logs khavip --host {}`)",
                path.to
            ),
        )
    })
}

/// Where no agent listens no khavip does, and the host's kernel says so to a datagram that reaches it.
fn datagrams_lost(path: &PathFacts) -> Option<Finding> {
    let idle = path.ports.get(&AGENT_PORT) == Some(&PortAnswer::Refused);
    let datagram = path.datagram.as_ref()?;
    (idle && !answered(datagram)).then(|| {
        Finding::new(
            Level::Warning,
            CHECK,
            DATAGRAMS_LOST,
            format!(
                "{} answers at {AGENT_PORT} tcp, and says nothing to a datagram at {AGENT_PORT} udp, of which the VIP's lease is made",
                way(path)
            ),
            format!(
                "open {AGENT_PORT} udp in the firewalls of both hosts and between them; it is open already if they only keep back the \
                 ICMP that would say so"
            ),
        )
    })
}

/// From whom to whom, in words that a sentence can begin with.
fn way(path: &PathFacts) -> String {
    let address = path.address.to_string();
    if path.to == address {
        format!("from {}: {address}", path.from)
    } else {
        format!("from {}: {} ({address})", path.from, path.to)
    }
}

#[cfg(test)]
mod tests {
    use super::super::weighed;
    use super::*;

    fn path(ports: &[(u16, PortAnswer)], full_size: FullSize) -> PathFacts {
        PathFacts {
            from: "cp1".to_owned(),
            to: "cp2".to_owned(),
            address: [10, 77, 0, 12].into(),
            ports: ports.iter().cloned().collect(),
            full_size,
            round_trip_us: None,
            datagram: None,
            lease_silent_ms: None,
        }
    }

    const PASSES: FullSize = FullSize::Passes { mtu: 1_500 };

    #[test]
    fn ports_that_are_open_or_refused_are_reached_and_told_once_for_all_paths() {
        let paths = [
            path(&[(9443, PortAnswer::Open)], PASSES),
            path(
                &[(2380, PortAnswer::Refused), (9443, PortAnswer::Open)],
                FullSize::Passes { mtu: 1_400 },
            ),
        ];
        let found = judge(&paths, true);
        assert_eq!(
            found[0].finding,
            "all 2 paths to other hosts open at 2380, 9443 tcp, with packets of 1400 bytes"
        );
        assert_eq!(weighed(&found), [(Level::Fine, "")]);
        assert!(judge(&[], true).is_empty());
    }

    #[test]
    fn a_port_that_is_filtered_blocks_before_there_is_a_cluster_and_warns_in_one() {
        let ports = [
            (2379, PortAnswer::Refused),
            (2380, PortAnswer::Silent),
            (
                9443,
                PortAnswer::NoWay("administratively prohibited".into()),
            ),
        ];
        for (members, level) in [(false, Level::Blocking), (true, Level::Warning)] {
            let found = judge(&[path(&ports, FullSize::Silent)], members);
            assert!(
                found[0]
                    .finding
                    .ends_with("cp2 (10.77.0.12) answers, and not at 2380, 9443 tcp"),
                "{found:?}"
            );
            assert_eq!(weighed(&found), [(level, "KHA1130")]);
        }
        // An echo is an answer too.
        let found = judge(&[path(&[(9443, PortAnswer::Silent)], PASSES)], false);
        assert_eq!(weighed(&found), [(Level::Blocking, "KHA1130")]);
    }

    #[test]
    fn a_host_that_says_nothing_at_all_may_be_off_and_blocks_nothing() {
        let ports = [(9443, PortAnswer::NoWay("no route to host".into()))];
        for full_size in [FullSize::Silent, FullSize::Untried("no right".into())] {
            let found = judge(&[path(&ports, full_size)], false);
            assert!(
                found[0].finding.ends_with(": no route to host"),
                "{found:?}"
            );
            assert_eq!(weighed(&found), [(Level::Warning, "KHA1131")]);
        }
    }

    #[test]
    fn packets_that_vanish_are_warned_of_and_those_that_are_told_are_not() {
        let ports = [(9443, PortAnswer::Open)];
        let found = judge(&[path(&ports, FullSize::Lost { mtu: 9_000 })], false);
        assert!(found[0].finding.contains("9000 bytes"), "{found:?}");
        assert_eq!(weighed(&found), [(Level::Warning, "KHA1132")]);
        let smaller = FullSize::Smaller {
            mtu: 1_500,
            passes: 1_420,
        };
        let found = judge(&[path(&ports, smaller)], false);
        assert_eq!(
            weighed(&found),
            [(Level::Fine, ""), (Level::Info, "KHA1133")]
        );
    }

    #[test]
    fn datagrams_that_do_not_come_from_a_host_that_answers_are_warned_of() {
        for (silent_ms, expected) in [
            (LEASE_SILENT_MS_MAX, (Level::Fine, "")),
            (LEASE_SILENT_MS_MAX + 1, (Level::Warning, "KHA1135")),
            (u32::MAX, (Level::Warning, "KHA1135")),
        ] {
            let mut path = path(&[(9443, PortAnswer::Open)], PASSES);
            path.lease_silent_ms = Some(silent_ms);
            assert_eq!(weighed(&judge(&[path], true)), [expected], "{silent_ms}");
        }
    }

    #[test]
    fn datagrams_that_vanish_on_the_way_to_an_idle_host_are_warned_of() {
        for (agent, datagram, expected) in [
            (PortAnswer::Refused, PortAnswer::Refused, (Level::Fine, "")),
            (
                PortAnswer::Refused,
                PortAnswer::Silent,
                (Level::Warning, "KHA1137"),
            ),
            // A member's khavip is silent to strangers.
            (PortAnswer::Open, PortAnswer::Silent, (Level::Fine, "")),
        ] {
            let mut path = path(&[(9443, agent)], PASSES);
            path.datagram = Some(datagram);
            assert_eq!(weighed(&judge(&[path], false)), [expected]);
        }
    }

    #[test]
    fn who_could_not_be_asked_is_named() {
        let found = unasked("cp3", "no answer");
        assert!(found.finding.starts_with("cp3 "), "{found:?}");
        assert_eq!(weighed(&[found]), [(Level::Info, "KHA1134")]);
    }
}
