//! The Lease of a host that is lost. Nobody can wait for its process; but its khavip kills it when no majority of the
//! VIP's members has answered it for the fence's time (docs/fence.md). So the process is dead when so many members have
//! not heard its khavip for that long that the others are no majority: who has not heard a question has not answered it.
//!
//! A khad that does not report proves nothing: khavip goes on without it, and so does the component.

use khactl_model::component::ComponentName;
use khactl_model::leader_lease::LeaderLease;
use khactl_model::spec::ValidSpec;
use khactl_model::state::{ClusterState, Host};
use std::collections::BTreeMap;

use super::{Refusal, Sightings, Verdict, forbidden, unproven};

/// The fence's time, 1 s by the lost host's clock, which may run 1 % slow while a witness' runs 1 % fast; and 300 ms for
/// a killing thread that gets its turn late.
pub const SILENCE_MS: u64 = 1_000 + 20 + 300;
/// Reports come once a second: what was told longer than this before the silence began may have changed unseen.
const TOLD_BEFORE_MS: u64 = 3_000;
/// A leader that lives renews its Lease within `retryPeriod` and what the API takes; the longest that is waited for it. It
/// is a second sign and not the proof.
const UNCHANGED_MS_MAX: u32 = 600;

/// What a host told of its fence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Armed {
    /// Components whose process its khavip kills, and the identity that this process was seen with.
    pub components: BTreeMap<ComponentName, String>,
    /// The epoch whose members it counts.
    pub epoch: u64,
    /// What its machine is called.
    pub machine: String,
    /// When it was told.
    pub told_ms: u64,
}

/// What a member's khavip says of how long it has not heard another one, when it was asked by whoever judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Voice {
    /// When the question left: it was as told at that time or later.
    pub asked_ms: u64,
    /// When the answer came.
    pub told_ms: u64,
    /// For how long the other one had not been heard.
    pub silent_ms: u64,
    /// The epoch whose members it knows.
    pub epoch: u64,
}

impl Voice {
    /// When the other one was heard last, at the latest.
    fn heard_ms(self) -> u64 {
        self.told_ms.saturating_sub(self.silent_ms)
    }
}

/// A Lease whose holder's host may be lost.
#[derive(Debug, Clone, Copy)]
pub struct LostCx<'a> {
    /// The spec in force.
    pub spec: &'a ValidSpec,
    /// The cluster.
    pub state: &'a ClusterState,
    /// Whose Lease it is.
    pub component: ComponentName,
    /// The Lease as the one who judges has seen it.
    pub sightings: &'a Sightings,
    /// What hosts told of their fences, by host id.
    pub armed: &'a BTreeMap<u64, Armed>,
    /// What the other members' khavips say of the one that may be lost, by host id.
    pub voices: &'a BTreeMap<u64, Voice>,
    /// When the newest look at the Lease was asked for.
    pub looked_ms: u64,
}

impl LostCx<'_> {
    /// The host whose component holds this Lease, by its name.
    fn holder(&self, lease: &LeaderLease) -> Option<&Host> {
        self.state.hosts.get(lease.holder_host()?)
    }

    /// The common part of the members' silences: its beginning and its end, and how many take part.
    fn silence(&self, lost: u64) -> (u64, u64, usize) {
        let lease = &self.state.lease;
        let voices = self
            .voices
            .iter()
            .filter(|(id, voice)| {
                **id != lost
                    && lease.members.contains(id)
                    && voice.epoch == lease.epoch
                    && voice.silent_ms >= SILENCE_MS
            })
            .map(|(_, voice)| *voice);
        let (mut from_ms, mut to_ms, mut count) = (0, u64::MAX, 0);
        for voice in voices {
            from_ms = from_ms.max(voice.heard_ms());
            to_ms = to_ms.min(voice.asked_ms);
            count += 1;
        }
        (from_ms, to_ms, count)
    }
}

/// Whether the Lease is one of a process that the fence has killed, to be cleared.
pub fn judge_lost(cx: &LostCx<'_>) -> Verdict {
    if let Some(refusal) = forbidden(cx.spec, cx.component) {
        return Verdict::Leave(refusal);
    }
    let Some(lease) = cx.sightings.newest() else {
        return Verdict::Leave(Refusal::Free);
    };
    if lease.coordinated {
        return Verdict::Leave(Refusal::Coordinated);
    }
    if lease.holder.is_empty() {
        return Verdict::Leave(Refusal::Free);
    }
    let Some(host) = cx.holder(lease) else {
        let holder = lease.holder.clone();
        return Verdict::Leave(Refusal::HeldByAnother { holder });
    };
    let name = || host.name.clone();
    let members = &cx.state.lease.members;
    if !members.contains(&host.id) {
        return Verdict::Leave(Refusal::NoMember(name()));
    }
    // So many that those who are left, the lost one among them, are no majority.
    let majority = members.len() / 2 + 1;
    let needed = members.len() - majority + 1;
    let (from_ms, to_ms, silent) = cx.silence(host.id);
    if silent < needed || to_ms < from_ms.saturating_add(SILENCE_MS) {
        return Verdict::Wait(Refusal::NotSilent {
            host: name(),
            silent,
            needed,
        });
    }
    if let Some(refusal) = unfenced(cx, host, &lease.holder, from_ms) {
        return Verdict::Leave(refusal);
    }
    // Looked at after the kill was due: nothing that was written later is the dead one's.
    let unchanged_ms = cx
        .looked_ms
        .saturating_sub(cx.sightings.unchanged_since_ms());
    let wanted_ms = UNCHANGED_MS_MAX.min(retry_ms(cx.spec, cx.component));
    if cx.looked_ms < from_ms.saturating_add(SILENCE_MS) || unchanged_ms < u64::from(wanted_ms) {
        return Verdict::Wait(Refusal::MayBeRenewed(name()));
    }
    Verdict::Clear {
        resource_version: lease.resource_version.clone(),
    }
}

/// Why the host's fence does not vouch for the holder's death, if it does not. What it kills is one process: another one,
/// started since, may hold the Lease by another identity.
fn unfenced(cx: &LostCx<'_>, host: &Host, holder: &str, silent_from_ms: u64) -> Option<Refusal> {
    let armed = cx.armed.get(&host.id).filter(|armed| {
        let identity = armed.components.get(&cx.component);
        identity.is_some_and(|identity| identity == holder)
            && armed.epoch == cx.state.lease.epoch
            && armed.told_ms.saturating_add(TOLD_BEFORE_MS) >= silent_from_ms
    });
    let Some(armed) = armed else {
        return Some(Refusal::NotArmed(host.name.clone()));
    };
    unproven(host, &armed.machine, cx.state, cx.armed)
}

fn retry_ms(spec: &ValidSpec, component: ComponentName) -> u32 {
    let times = spec.control_plane.leader_election(component);
    times.retry_period_ms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::takeover::tests::{host, lease, spec};
    use khactl_model::component::ComponentName::{KubeControllerManager, KubeScheduler};
    use khactl_model::state::{LeaseMembership, Role};

    /// cp1 was lost at 10,000, and it is 11,500.
    struct Scene {
        spec: ValidSpec,
        state: ClusterState,
        sightings: Sightings,
        armed: BTreeMap<u64, Armed>,
        voices: BTreeMap<u64, Voice>,
        looked_ms: u64,
    }

    fn voice(heard_ms: u64, asked_ms: u64) -> Voice {
        Voice {
            asked_ms,
            told_ms: asked_ms,
            silent_ms: asked_ms - heard_ms,
            epoch: 3,
        }
    }

    impl Scene {
        fn of(hosts: u64) -> Self {
            let mut sightings = Sightings::default();
            sightings.note(lease("6", "cp1_a"), 9_800);
            sightings.note(lease("7", "cp1_a"), 10_300);
            let armed = |id| Armed {
                components: [(KubeControllerManager, format!("cp{id}_a"))].into(),
                epoch: 3,
                machine: format!("cp{id}"),
                told_ms: 9_500,
            };
            Self {
                spec: spec(""),
                state: ClusterState {
                    hosts: (1..=hosts)
                        .map(|id| (format!("cp{id}"), host(id)))
                        .collect(),
                    lease: LeaseMembership {
                        epoch: 3,
                        members: (1..=hosts).collect(),
                    },
                    ..ClusterState::default()
                },
                sightings,
                armed: (1..=hosts).map(|id| (id, armed(id))).collect(),
                voices: (2..=hosts).map(|id| (id, voice(10_000, 11_500))).collect(),
                looked_ms: 11_500,
            }
        }

        fn verdict_on(&self, component: ComponentName) -> Verdict {
            judge_lost(&LostCx {
                spec: &self.spec,
                state: &self.state,
                component,
                sightings: &self.sightings,
                armed: &self.armed,
                voices: &self.voices,
                looked_ms: self.looked_ms,
            })
        }

        fn verdict(&self) -> Verdict {
            self.verdict_on(KubeControllerManager)
        }
    }

    fn clear() -> Verdict {
        Verdict::Clear {
            resource_version: "7".to_owned(),
        }
    }

    fn not_silent(silent: usize, needed: usize) -> Verdict {
        Verdict::Wait(Refusal::NotSilent {
            host: "cp1".to_owned(),
            silent,
            needed,
        })
    }

    fn not_armed() -> Verdict {
        Verdict::Leave(Refusal::NotArmed("cp1".to_owned()))
    }

    #[test]
    fn a_lost_host_whose_fence_was_armed_loses_its_lease() {
        for hosts in [2, 3, 5, 7] {
            assert_eq!(Scene::of(hosts).verdict(), clear(), "{hosts} hosts");
        }
    }

    #[test]
    fn those_who_have_not_heard_it_must_leave_it_no_majority() {
        for (hosts, needed) in [(3, 2), (4, 2), (5, 3), (7, 4)] {
            let mut scene = Scene::of(hosts);
            while scene.voices.len() >= needed {
                assert_eq!(scene.verdict(), clear());
                scene.voices.pop_last();
            }
            assert_eq!(scene.verdict(), not_silent(needed - 1, needed));
        }
    }

    #[test]
    fn one_who_hears_it_while_its_agent_is_silent_keeps_its_lease() {
        let mut scene = Scene::of(3);
        scene.voices.insert(3, voice(11_400, 11_500));
        assert_eq!(scene.verdict(), not_silent(1, 2));
    }

    #[test]
    fn silences_one_after_the_other_prove_nothing() {
        let mut scene = Scene::of(3);
        // cp2 had not heard it until 11,320, cp3 answered it until 10,200: together silent for 1,120 ms.
        scene.voices.insert(2, voice(10_000, 11_320));
        scene.voices.insert(3, voice(10_200, 11_600));
        assert_eq!(scene.verdict(), not_silent(2, 2));
        scene.voices.insert(2, voice(10_000, 10_200 + SILENCE_MS));
        scene.looked_ms = 11_600;
        assert_eq!(scene.verdict(), clear());
    }

    #[test]
    fn silence_shorter_than_the_fence_and_its_margin_is_waited_out() {
        let mut scene = Scene::of(3);
        scene.voices.insert(2, voice(10_001, 10_000 + SILENCE_MS));
        assert_eq!(scene.verdict(), not_silent(1, 2));
    }

    #[test]
    fn members_of_another_epoch_are_not_counted() {
        let mut scene = Scene::of(3);
        scene.voices.get_mut(&2).unwrap().epoch = 2;
        assert_eq!(scene.verdict(), not_silent(1, 2));
        let mut scene = Scene::of(3);
        scene.state.lease.members.retain(|id| *id != 2);
        assert_eq!(scene.verdict(), clear(), "of two members one is left");
        let mut scene = Scene::of(3);
        scene.armed.get_mut(&1).unwrap().epoch = 2;
        assert_eq!(scene.verdict(), not_armed());
        let mut scene = Scene::of(3);
        scene.state.lease.members.retain(|id| *id != 1);
        let outside = Refusal::NoMember("cp1".to_owned());
        assert_eq!(scene.verdict(), Verdict::Leave(outside));
    }

    #[test]
    fn a_fence_that_is_not_known_to_be_armed_lets_the_lease_run_out() {
        let scene = Scene::of(3);
        assert_eq!(scene.verdict_on(KubeScheduler), not_armed());
        let mut scene = Scene::of(3);
        scene.armed.remove(&1);
        assert_eq!(scene.verdict(), not_armed());
        // Told so long before the silence that it may have changed since.
        let mut scene = Scene::of(3);
        scene.armed.get_mut(&1).unwrap().told_ms = 10_000 - TOLD_BEFORE_MS - 1;
        assert_eq!(scene.verdict(), not_armed());
    }

    #[test]
    fn a_process_that_was_started_after_the_report_keeps_its_lease() {
        let mut scene = Scene::of(3);
        // The one that was told of was killed, and the next one won the Lease while its host was still not heard.
        scene.sightings.note(lease("8", "cp1_b"), 10_600);
        assert_eq!(scene.verdict(), not_armed());
    }

    #[test]
    fn names_that_do_not_tell_machines_apart_let_the_lease_run_out() {
        let mut scene = Scene::of(3);
        scene.armed.get_mut(&2).unwrap().machine = "cp1".to_owned();
        let same = Refusal::SameName("cp1".to_owned(), "cp2".to_owned());
        assert_eq!(scene.verdict(), Verdict::Leave(same));
        let unknown = Verdict::Leave(Refusal::MachineUnknown("cp2".to_owned()));
        scene.armed.get_mut(&2).unwrap().machine.clear();
        assert_eq!(scene.verdict(), unknown);
        scene.armed.remove(&2);
        assert_eq!(scene.verdict(), unknown);
        scene.state.hosts.get_mut("cp2").unwrap().role = Role::Witness;
        assert_eq!(scene.verdict(), clear(), "a witness holds no such Lease");
        let mut scene = Scene::of(3);
        scene.armed.get_mut(&1).unwrap().machine = "debian".to_owned();
        let unproven = Refusal::NameUnproven {
            machine: "debian".to_owned(),
            host: "cp1".to_owned(),
        };
        assert_eq!(scene.verdict(), Verdict::Leave(unproven));
    }

    #[test]
    fn a_lease_that_is_renewed_or_was_not_looked_at_since_is_waited_for() {
        let wait = Verdict::Wait(Refusal::MayBeRenewed("cp1".to_owned()));
        let mut scene = Scene::of(3);
        scene.sightings.note(lease("8", "cp1_a"), 11_300);
        assert_eq!(scene.verdict(), wait);
        let mut scene = Scene::of(3);
        scene.looked_ms = 11_000;
        assert_eq!(scene.verdict(), wait);
    }

    #[test]
    fn a_lease_of_nobody_or_of_a_stranger_is_left_alone() {
        for (holder, refusal) in [
            ("", Refusal::Free),
            (
                "other_a",
                Refusal::HeldByAnother {
                    holder: "other_a".to_owned(),
                },
            ),
        ] {
            let mut scene = Scene::of(3);
            scene.sightings.note(lease("7", holder), 10_300);
            assert_eq!(scene.verdict(), Verdict::Leave(refusal));
        }
        let mut scene = Scene::of(3);
        scene.sightings = Sightings::default();
        assert_eq!(scene.verdict(), Verdict::Leave(Refusal::Free));
    }

    #[test]
    fn where_something_else_elects_no_lease_is_touched() {
        let coordinated = Verdict::Leave(Refusal::Coordinated);
        let mut scene = Scene::of(3);
        scene.sightings.note(
            LeaderLease {
                coordinated: true,
                ..lease("7", "cp1_a")
            },
            10_300,
        );
        assert_eq!(scene.verdict(), coordinated);
        let mut scene = Scene::of(3);
        scene.spec =
            spec("apiServer: {extraArgs: {feature-gates: CoordinatedLeaderElection=true}}");
        assert_eq!(scene.verdict(), coordinated);
        scene.spec = spec("controllerManager: {extraArgs: {leader-elect-resource-name: mine}}");
        let other = Refusal::OtherLease("leader-elect-resource-name");
        assert_eq!(scene.verdict(), Verdict::Leave(other));
        for past_khavip in ["config", "kubeconfig", "master"] {
            scene.spec = spec(&format!(
                "controllerManager: {{extraArgs: {{{past_khavip}: /etc/own}}}}"
            ));
            let other = Refusal::OtherLease(past_khavip);
            assert_eq!(scene.verdict(), Verdict::Leave(other));
        }
    }
}
