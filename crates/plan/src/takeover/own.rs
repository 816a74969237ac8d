//! The Lease of a process of this host that has ended. Its end was waited for, or its pidfd told: a signal that was
//! sent proves nothing.
//!
//! Its identity is the machine's name and a random number that only itself and the Lease know. So the holder is the dead
//! one if it has this machine's name, which no other host's machine has, and was seen before the next process here was
//! started: what holds it then is a process of this host, and all of those are dead.

use khactl_model::component::ComponentName;
use khactl_model::spec::ValidSpec;
use khactl_model::state::{ClusterState, Host};
use std::collections::BTreeMap;

use super::{Armed, Refusal, Sightings, Verdict, forbidden, unproven};

/// A component's process that ended on this host.
#[derive(Debug, Clone, Copy)]
pub struct OwnEnd<'a> {
    /// The spec as this host goes by it.
    pub spec: &'a ValidSpec,
    /// Which one ended.
    pub component: ComponentName,
    /// The cluster.
    pub state: &'a ClusterState,
    /// This host in it.
    pub host: &'a Host,
    /// What the machine calls itself, as the component sees it.
    pub machine: &'a str,
    /// What hosts told of themselves, by host id.
    pub told: &'a BTreeMap<u64, Armed>,
    /// The Lease, looked at after the end.
    pub sightings: &'a Sightings,
    /// When the process that runs now was started, found after that look; `None`: none runs.
    pub next_started_ms: Option<u64>,
}

/// Whether the Lease is the dead one's, to be cleared.
pub fn judge_own(end: &OwnEnd<'_>) -> Verdict {
    if let Some(refusal) = forbidden(end.spec, end.component) {
        return Verdict::Leave(refusal);
    }
    let Some(lease) = end.sightings.newest() else {
        return Verdict::Leave(Refusal::Free);
    };
    if lease.coordinated {
        return Verdict::Leave(Refusal::Coordinated);
    }
    if lease.holder.is_empty() {
        return Verdict::Leave(Refusal::Free);
    }
    let holder = lease.holder.clone();
    if lease.holder_host() != Some(end.machine) {
        return Verdict::Leave(Refusal::HeldByAnother { holder });
    }
    match unproven(end.host, end.machine, end.state, end.told) {
        // It tells within a second, if it lives.
        Some(refusal @ Refusal::MachineUnknown(_)) => return Verdict::Wait(refusal),
        Some(refusal) => return Verdict::Leave(refusal),
        None => {}
    }
    let before_the_next = end
        .next_started_ms
        .is_none_or(|started_ms| end.sightings.held_since_ms() < started_ms);
    if !before_the_next {
        return Verdict::Leave(Refusal::MayLive { holder });
    }
    Verdict::Clear {
        resource_version: lease.resource_version.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::takeover::tests::{host, lease, spec};
    use khactl_model::leader_lease::LeaderLease;

    /// On cp1, with the names that the machines of the others told.
    fn judge_beside(
        others: &[(u64, &str)],
        control_plane: &str,
        machine: &str,
        seen: &[(LeaderLease, u64)],
        next: Option<u64>,
    ) -> Verdict {
        let mut sightings = Sightings::default();
        for (lease, at_ms) in seen {
            sightings.note(lease.clone(), *at_ms);
        }
        let told = |(id, machine): &(u64, &str)| {
            let armed = Armed {
                machine: (*machine).to_owned(),
                ..Armed::default()
            };
            (*id, armed)
        };
        let told: BTreeMap<u64, Armed> = others.iter().map(told).collect();
        let hosts = [host(1), host(2), host(3)];
        judge_own(&OwnEnd {
            spec: &spec(control_plane),
            component: ComponentName::KubeScheduler,
            state: &ClusterState {
                hosts: hosts.map(|host| (host.name.clone(), host)).into(),
                ..ClusterState::default()
            },
            host: &host(1),
            machine,
            told: &told,
            sightings: &sightings,
            next_started_ms: next,
        })
    }

    fn judge(
        control_plane: &str,
        machine: &str,
        seen: &[(LeaderLease, u64)],
        next: Option<u64>,
    ) -> Verdict {
        let others = [(2, "cp2"), (3, "cp3")];
        judge_beside(&others, control_plane, machine, seen, next)
    }

    fn cleared(version: &str) -> Verdict {
        Verdict::Clear {
            resource_version: version.to_owned(),
        }
    }

    #[test]
    fn the_lease_of_a_dead_process_is_cleared_while_none_runs() {
        let seen = [(lease("7", "cp1_a"), 100)];
        assert_eq!(judge("", "cp1", &seen, None), cleared("7"));
    }

    #[test]
    fn a_holder_that_was_seen_before_the_next_start_is_the_dead_one() {
        let seen = [(lease("7", "cp1_a"), 100), (lease("9", "cp1_a"), 300)];
        assert_eq!(judge("", "cp1", &seen, Some(200)), cleared("9"));
    }

    #[test]
    fn a_holder_that_may_be_the_next_process_keeps_its_lease() {
        for seen in [
            vec![(lease("7", "cp1_b"), 200)],
            // The dead one's was seen before, and another one took it.
            vec![(lease("6", "cp1_a"), 100), (lease("7", "cp1_b"), 250)],
        ] {
            let verdict = judge("", "cp1", &seen, Some(200));
            let holder = "cp1_b".to_owned();
            assert_eq!(verdict, Verdict::Leave(Refusal::MayLive { holder }));
        }
    }

    #[test]
    fn a_lease_of_another_host_or_of_nobody_is_left_alone() {
        for holder in ["cp2_a", "cp11_a", "cp1"] {
            let verdict = judge("", "cp1", &[(lease("7", holder), 1)], None);
            let holder = holder.to_owned();
            assert_eq!(verdict, Verdict::Leave(Refusal::HeldByAnother { holder }));
        }
        let free = Verdict::Leave(Refusal::Free);
        assert_eq!(judge("", "cp1", &[(lease("7", ""), 1)], None), free);
        assert_eq!(judge("", "cp1", &[], None), free);
    }

    #[test]
    fn a_machine_that_is_not_called_like_its_host_proves_nothing() {
        let verdict = judge("", "debian", &[(lease("7", "debian_a"), 1)], None);
        assert_eq!(
            verdict,
            Verdict::Leave(Refusal::NameUnproven {
                machine: "debian".to_owned(),
                host: "cp1".to_owned(),
            })
        );
    }

    #[test]
    fn a_holder_that_may_be_another_hosts_keeps_its_lease() {
        let seen = [(lease("7", "cp1_y"), 100)];
        let beside = |others: &[(u64, &str)]| judge_beside(others, "", "cp1", &seen, None);
        // The machine of cp2 is a clone of this one, and its host has another name.
        let same = Refusal::SameName("cp1".to_owned(), "cp2".to_owned());
        assert_eq!(beside(&[(2, "cp1"), (3, "cp3")]), Verdict::Leave(same));
        let unknown = Verdict::Wait(Refusal::MachineUnknown("cp3".to_owned()));
        assert_eq!(beside(&[(2, "cp2")]), unknown);
        assert_eq!(beside(&[(2, "cp2"), (3, "")]), unknown);
        assert_eq!(beside(&[(2, "cp2"), (3, "cp3")]), cleared("7"));
    }

    #[test]
    fn where_the_api_server_elects_no_lease_is_touched() {
        let mut coordinated = lease("7", "cp1_a");
        coordinated.coordinated = true;
        let leave = Verdict::Leave(Refusal::Coordinated);
        assert_eq!(judge("", "cp1", &[(coordinated, 1)], None), leave);
        let gate =
            "apiServer: {extraArgs: {feature-gates: 'A=true,CoordinatedLeaderElection=true'}}";
        assert_eq!(judge(gate, "cp1", &[(lease("7", "cp1_a"), 1)], None), leave);
    }

    #[test]
    fn where_the_component_elects_otherwise_no_lease_is_touched() {
        let other = "scheduler: {extraArgs: {leader-elect-resource-lock: endpointsleases}}";
        assert_eq!(
            judge(other, "cp1", &[(lease("7", "cp1_a"), 1)], None),
            Verdict::Leave(Refusal::OtherLease("leader-elect-resource-lock"))
        );
    }
}
