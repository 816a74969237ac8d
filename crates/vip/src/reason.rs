//! Why this host does not hold the VIP, in one line for the operator. It judges nothing: it only tells what the parts
//! of khavip say of themselves.

use crate::feed::WantedLease;
use crate::lease::LeaseStatus;

/// A member that was not heard for this long does not count as heard. Whoever does not hold asks around once a second.
const HEARD_WITHIN_NS: u64 = 2_500_000_000;

/// What is known at one moment.
pub(crate) struct Situation<'a> {
    pub(crate) fed: bool,
    pub(crate) wanted: Option<&'a WantedLease>,
    pub(crate) lease: Option<&'a LeaseStatus>,
    /// What keeps this host from serving; empty if it is fit.
    pub(crate) unfit: &'a [String],
}

impl Situation<'_> {
    /// Empty if this host holds.
    pub(crate) fn reason(&self) -> String {
        if !self.fed {
            return "khad has not fed khavip since it started".to_owned();
        }
        let Some(wanted) = self.wanted else {
            return "the lease has no members yet".to_owned();
        };
        let Some(lease) = self.lease else {
            return "the lease does not run on this host".to_owned();
        };
        if let Some(failure) = &lease.failure {
            return failure.clone();
        }
        if lease.holding {
            return String::new();
        }
        let members = &wanted.feed.members;
        match members.iter().find(|member| member.id == wanted.host_id) {
            None => return "this host is not a member of the lease".to_owned(),
            Some(member) if !member.proposer => {
                return "this host is a witness, which never holds it".to_owned();
            }
            Some(_) => {}
        }
        let unfit = self.unfit.join("; ");
        if let Some(holder) = lease.holder.filter(|holder| *holder != wanted.host_id) {
            let name = wanted.names.get(&holder);
            let name = name.map_or_else(|| format!("host {holder}"), Clone::clone);
            return if unfit.is_empty() {
                format!("{name} holds it")
            } else {
                format!("{name} holds it, and this host could not: {unfit}")
            };
        }
        if !unfit.is_empty() {
            return unfit;
        }
        if !lease.ready {
            return "the lease has no confirmed members: khad has not reached a majority since the host started".to_owned();
        }
        if !lease.past_silence {
            let tenths = lease.silence_left_ns.div_ceil(100_000_000);
            return format!(
                "waiting out the silence after a start ({}.{} s left)",
                tenths / 10,
                tenths % 10
            );
        }
        let now = lease.read_boottime_ns;
        let heard = lease.summary.peers.iter().filter(|peer| {
            let at = peer.heard_boottime_ns;
            peer.host != 0 && at != 0 && now.saturating_sub(at) < HEARD_WITHIN_NS
        });
        let there = heard.count() + 1;
        if there <= members.len() / 2 {
            return format!(
                "no majority of the lease's members is there: {there} of {} with this host",
                members.len()
            );
        }
        "nobody holds it: this host asks for it when its turn comes".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::lease::{Feed, Member};

    fn wanted() -> WantedLease {
        let members = (1..=3).map(|id| Member {
            id,
            address: format!("10.0.0.{id}:9443").parse().expect("address"),
            preference: 0,
            proposer: id != 3,
        });
        WantedLease {
            cluster: [1; 16],
            host_id: 1,
            bind: "10.0.0.1:9443".parse().expect("address"),
            feed: Feed {
                epoch: 1,
                confirmed: true,
                key: [2; 32],
                members: members.collect(),
                lease_ms: 250,
            },
            names: BTreeMap::from([(1, "cp1".to_owned()), (2, "cp2".to_owned())]),
            fenced: BTreeMap::new(),
        }
    }

    fn idle() -> LeaseStatus {
        let mut lease = LeaseStatus {
            ready: true,
            past_silence: true,
            read_boottime_ns: 10_000_000_000,
            ..LeaseStatus::default()
        };
        for (place, host) in [(0, 2), (1, 3)] {
            lease.summary.peers[place].host = host;
            lease.summary.peers[place].heard_boottime_ns = 9_900_000_000;
        }
        lease
    }

    fn of(wanted: &WantedLease, lease: &LeaseStatus, unfit: &[&str]) -> String {
        let unfit: Vec<String> = unfit.iter().map(ToString::to_string).collect();
        Situation {
            fed: true,
            wanted: Some(wanted),
            lease: Some(lease),
            unfit: &unfit,
        }
        .reason()
    }

    #[test]
    fn the_holder_needs_no_reason_and_others_name_the_holder() {
        let holding = LeaseStatus {
            holding: true,
            ..idle()
        };
        assert_eq!(of(&wanted(), &holding, &["no healthy backend"]), "");
        let other = LeaseStatus {
            holder: Some(2),
            ..idle()
        };
        assert_eq!(of(&wanted(), &other, &[]), "cp2 holds it");
        assert_eq!(
            of(
                &wanted(),
                &other,
                &["no healthy backend", "eth0 has no carrier"]
            ),
            "cp2 holds it, and this host could not: no healthy backend; eth0 has no carrier"
        );
    }

    #[test]
    fn without_a_holder_the_first_hindrance_is_told() {
        assert_eq!(
            of(&wanted(), &idle(), &["no healthy backend"]),
            "no healthy backend"
        );
        let unconfirmed = LeaseStatus {
            ready: false,
            ..idle()
        };
        assert!(of(&wanted(), &unconfirmed, &[]).starts_with("the lease has no confirmed members"));
        let silent = LeaseStatus {
            past_silence: false,
            silence_left_ns: 1_150_000_000,
            ..idle()
        };
        assert_eq!(
            of(&wanted(), &silent, &[]),
            "waiting out the silence after a start (1.2 s left)"
        );
        let mut alone = idle();
        alone.read_boottime_ns = 20_000_000_000;
        assert!(of(&wanted(), &alone, &[]).contains("1 of 3"));
        assert!(of(&wanted(), &idle(), &[]).starts_with("nobody holds it"));
    }

    #[test]
    fn who_cannot_hold_at_all_is_told_so() {
        let mut witness = wanted();
        witness.host_id = 3;
        assert!(of(&witness, &idle(), &[]).contains("witness"));
        let mut stranger = wanted();
        stranger.host_id = 9;
        assert!(of(&stranger, &idle(), &[]).contains("not a member"));
        let nothing = Situation {
            fed: false,
            wanted: None,
            lease: None,
            unfit: &[],
        };
        assert!(nothing.reason().contains("not fed"));
        let no_members = Situation {
            fed: true,
            ..nothing
        };
        assert!(no_members.reason().contains("no members"));
    }
}
