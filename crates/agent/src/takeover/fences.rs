//! What hosts told of their fences. Reports go to the leader alone, which tells everybody with its answer: whoever leads
//! after it, because it was the one to be lost, must know.

use khactl_model::component::ComponentName;
use khactl_model::facts::HostReport;
use khactl_plan::takeover::Armed;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// By host id; nothing of it outlives this khad.
#[derive(Debug, Default)]
pub struct Fences(Mutex<BTreeMap<u64, Armed>>);

/// The same to be told: without a time of anybody's clock.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    components: BTreeMap<ComponentName, String>,
    epoch: u64,
    machine: String,
    age_ms: u64,
}

impl Fences {
    /// A host has reported, at that boot time.
    pub fn reported(&self, report: &HostReport, now_ms: u64) {
        let vip = report.vip.as_ref();
        let armed = Armed {
            components: vip
                .into_iter()
                .flat_map(|vip| &vip.fenced_components)
                .filter_map(|fenced| Some((fenced.name, fenced.identity.clone()?)))
                .collect(),
            epoch: vip.map_or(0, |vip| vip.epoch),
            machine: report.machine.clone(),
            told_ms: now_ms,
        };
        self.known().insert(report.host_id, armed);
    }

    /// All of it, for the others.
    pub fn to_json(&self, now_ms: u64) -> String {
        let told: BTreeMap<u64, Told> = self
            .known()
            .iter()
            .map(|(id, armed)| {
                let told = Told {
                    components: armed.components.clone(),
                    epoch: armed.epoch,
                    machine: armed.machine.clone(),
                    age_ms: now_ms.saturating_sub(armed.told_ms),
                };
                (*id, told)
            })
            .collect();
        serde_json::to_string(&told).unwrap_or_default()
    }

    /// The leader has told what it knows, at that boot time or later. What cannot be read is as if it was not told.
    pub fn learn(&self, json: &str, now_ms: u64) {
        let told: BTreeMap<u64, Told> = serde_json::from_str(json).unwrap_or_default();
        let mut known = self.known();
        for (id, told) in told {
            let told_ms = now_ms.saturating_sub(told.age_ms);
            if known.get(&id).is_some_and(|known| known.told_ms > told_ms) {
                continue;
            }
            let armed = Armed {
                components: told.components,
                epoch: told.epoch,
                machine: told.machine,
                told_ms,
            };
            known.insert(id, armed);
        }
    }

    /// What is known.
    pub fn armed(&self) -> BTreeMap<u64, Armed> {
        self.known().clone()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<u64, Armed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use khactl_model::facts::{FencedComponent, VipFact};

    use super::*;

    fn armed(epoch: u64, told_ms: u64) -> Armed {
        Armed {
            components: [(ComponentName::KubeScheduler, "cp2_a".to_owned())].into(),
            epoch,
            machine: "cp2".to_owned(),
            told_ms,
        }
    }

    #[test]
    fn what_the_leader_tells_is_as_old_here_as_it_was_there() {
        let leader = Fences::default();
        leader.known().insert(2, armed(3, 1_000));
        let follower = Fences::default();
        follower.learn(&leader.to_json(1_400), 90_000);
        assert_eq!(follower.armed()[&2], armed(3, 89_600));
        // What is older than what is known says nothing.
        leader.known().insert(2, armed(2, 0));
        follower.learn(&leader.to_json(1_400), 90_000);
        assert_eq!(follower.armed()[&2], armed(3, 89_600));
    }

    #[test]
    fn a_fence_counts_only_for_an_identity_that_its_process_was_seen_with() {
        let fences = Fences::default();
        let with = |name, identity: Option<&str>| FencedComponent {
            name,
            pid: 70,
            start_ticks: 9,
            identity: identity.map(str::to_owned),
        };
        let report = HostReport {
            host_id: 2,
            version: String::new(),
            machine: "cp2".to_owned(),
            components: Vec::new(),
            vip: Some(VipFact {
                epoch: 3,
                fenced_components: vec![
                    with(ComponentName::KubeControllerManager, None),
                    with(ComponentName::KubeScheduler, Some("cp2_a")),
                ],
                ..VipFact::default()
            }),
            problems: Vec::new(),
            certificates: BTreeMap::new(),
            arguments: 0,
            unready: false,
        };
        fences.reported(&report, 1_000);
        assert_eq!(fences.armed()[&2], armed(3, 1_000));
    }

    #[test]
    fn what_cannot_be_read_is_as_if_it_was_not_told() {
        let fences = Fences::default();
        for json in ["", "{", r#"{"1": {"components": ["x"]}}"#, "[]"] {
            fences.learn(json, 5);
        }
        assert!(fences.armed().is_empty());
    }
}
