//! Whether somebody has the VIP already, before there is a cluster whose it could be.

use khactl_model::preflight::{FullSize, PathFacts, PortAnswer};

use super::{Finding, Level};

const CHECK: &str = "vip";
/// Somebody answers there.
const TAKEN: &str = "KHA1136";

/// What follows from the way to each VIP, as it was tried by a host that has none of them and is no member. It does not
/// block: in a migration somebody else serves at that address until the switch.
pub fn judge(tried: &[PathFacts]) -> Vec<Finding> {
    let taken: Vec<Finding> = tried
        .iter()
        .filter_map(|path| {
            let address = path.address;
            Some(Finding::new(
                Level::Warning,
                CHECK,
                TAKEN,
                format!("somebody has the VIP {address} already: {}", sign(path)?),
                format!(
                    "`ip neigh show {address}` tells the hardware address: take the VIP away there, or choose another; if it is \
                     the cluster that this host is to join, say --join"
                ),
            ))
        })
        .collect();
    if !taken.is_empty() || tried.is_empty() {
        return taken;
    }
    let free: Vec<String> = tried.iter().map(|path| path.address.to_string()).collect();
    let finding = format!("nobody answers at {}", free.join(" and "));
    vec![Finding::fine(CHECK, finding)]
}

/// By what somebody is known to be there.
fn sign(path: &PathFacts) -> Option<String> {
    let answered = path.ports.iter().find_map(|(port, answer)| match answer {
        PortAnswer::Open => Some(format!("port {port} takes connections")),
        PortAnswer::Refused => Some(format!("port {port} refuses connections")),
        PortAnswer::Silent | PortAnswer::NoWay(_) => None,
    });
    answered.or_else(|| match path.full_size {
        FullSize::Passes { .. } | FullSize::Smaller { .. } | FullSize::Lost { .. } => {
            Some("it answers echoes".to_owned())
        }
        FullSize::Silent | FullSize::Untried(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::weighed;
    use super::*;

    fn tried(answer: PortAnswer, full_size: FullSize) -> PathFacts {
        PathFacts {
            from: "cp1".to_owned(),
            to: "the VIP".to_owned(),
            address: [10, 77, 0, 100].into(),
            ports: [(6443, answer)].into(),
            full_size,
            round_trip_us: None,
            datagram: None,
            lease_silent_ms: None,
        }
    }

    #[test]
    fn a_vip_at_which_nobody_answers_is_free() {
        for silent in [
            tried(PortAnswer::Silent, FullSize::Silent),
            tried(
                PortAnswer::NoWay("no route to host".to_owned()),
                FullSize::Untried("not permitted".to_owned()),
            ),
        ] {
            assert_eq!(weighed(&judge(&[silent])), [(Level::Fine, "")]);
        }
        assert!(judge(&[]).is_empty());
    }

    #[test]
    fn any_answer_is_somebody() {
        for (answer, full_size, sign) in [
            (PortAnswer::Open, FullSize::Silent, "takes connections"),
            (PortAnswer::Refused, FullSize::Silent, "refuses connections"),
            (
                PortAnswer::Silent,
                FullSize::Lost { mtu: 1500 },
                "answers echoes",
            ),
        ] {
            let free = tried(PortAnswer::Silent, FullSize::Silent);
            let found = judge(&[tried(answer, full_size), free]);
            assert_eq!(weighed(&found), [(Level::Warning, TAKEN)]);
            assert!(found[0].finding.contains(sign), "{found:?}");
        }
    }
}
