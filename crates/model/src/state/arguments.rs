//! Which revision's arguments each host's components run with: another one goes through the cluster host by host.
//!
//! ```text
//!  hosts of the last one ──drain (one host at a time)──▶ in turn ──keep──▶ hosts of the newest ──all──▶ none recorded
//!                                                        │     ▲
//!                                                        └─take┘ and again, if a newer revision is there
//! ```
//!
//! Who is next, and whether it may keep them, is decided by the leader; that no two hosts are in turn is made true
//! here, whoever leads.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::{ClusterState, Refused};
use crate::command::Entry;

/// The arguments of components on their way through the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arguments {
    /// The newest revision of the spec that changed any; 0: none has.
    pub revision: u64,
    /// By host id; a host that is not here runs with the newest.
    pub hosts: BTreeMap<u64, HostArguments>,
    /// The newest change was taken back.
    pub rolled_back: Option<RolledBack>,
}

/// What one host's components run with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostArguments {
    /// The revision of the spec whose arguments they are.
    pub revision: u64,
    /// It is this host's turn: it ran with those of that revision before, and may still. Meanwhile its apiserver, which
    /// is restarted by it, gets nothing new.
    pub before: Option<u64>,
}

/// A change of arguments that did not work on the first host that took it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolledBack {
    /// The revision that had them.
    pub revision: u64,
    /// Where, and how it showed.
    pub why: String,
}

impl Arguments {
    /// The host whose turn it is.
    pub fn in_turn(&self) -> Option<u64> {
        self.hosts
            .iter()
            .find(|(_, host)| host.before.is_some())
            .map(|(id, _)| *id)
    }
}

impl ClusterState {
    /// The revision whose arguments a host's components run with, where that is not the newest.
    pub fn arguments_of(&self, host_id: u64) -> Option<u64> {
        self.arguments.hosts.get(&host_id).map(|host| host.revision)
    }

    pub(super) fn change_arguments(
        &mut self,
        entry: &Entry,
        based_on: u64,
        yaml: &str,
        why: &str,
    ) -> Result<u64, Refused> {
        let given_up = self.arguments.revision;
        let revision = self.set_spec(entry, based_on, yaml)?;
        let present = HostArguments {
            revision: based_on,
            before: None,
        };
        for host in self.hosts.values() {
            self.arguments.hosts.entry(host.id).or_insert(present);
        }
        self.arguments.revision = revision;
        self.arguments.rolled_back = (!why.is_empty()).then(|| RolledBack {
            revision: given_up,
            why: why.to_owned(),
        });
        Ok(revision)
    }

    pub(super) fn drain_host(&mut self, host_id: u64, revision: u64) -> Result<u64, Refused> {
        let host = self.in_turn_with(host_id, revision)?;
        host.before = host.before.or(Some(host.revision));
        Ok(host_id)
    }

    pub(super) fn step_arguments(
        &mut self,
        host_id: u64,
        revision: u64,
        keep: bool,
    ) -> Result<u64, Refused> {
        let host = self.in_turn_with(host_id, revision)?;
        if keep {
            if host.before.is_none() || host.revision != revision {
                return Err(refused(format!(
                    "host id {host_id} did not take the arguments of revision {revision}"
                )));
            }
            host.before = None;
        } else {
            host.before = host.before.or(Some(host.revision));
            host.revision = revision;
        }
        let all = self
            .arguments
            .hosts
            .values()
            .all(|host| host.revision == revision && host.before.is_none());
        if all {
            self.arguments.hosts.clear();
        }
        Ok(host_id)
    }

    /// A host's place, if it may be its turn with that revision.
    fn in_turn_with(&mut self, host_id: u64, revision: u64) -> Result<&mut HostArguments, Refused> {
        let known = &self.hosts;
        self.arguments
            .hosts
            .retain(|id, _| known.values().any(|host| host.id == *id));
        let newest = self.arguments.revision;
        let other = self.arguments.in_turn().filter(|id| *id != host_id);
        let Some(host) = self.arguments.hosts.get_mut(&host_id) else {
            return Err(refused(format!(
                "host id {host_id} has no other arguments to take"
            )));
        };
        if revision != newest {
            return Err(refused(format!(
                "the arguments of revision {revision} are not the newest, those of {newest} are"
            )));
        }
        if let Some(other) = other {
            return Err(refused(format!(
                "it is the turn of host id {other} to take other arguments"
            )));
        }
        Ok(host)
    }
}

fn refused(wrong: String) -> Refused {
    Refused::new("KHA2330", wrong, "nothing to do: the leader plans anew")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, CreateCluster};

    fn apply(state: &mut ClusterState, command: Command) -> Result<u64, &'static str> {
        let entry = Entry {
            actor: "test".to_owned(),
            at_ms: 0,
            command,
        };
        state.apply(&entry).map_err(|refused| refused.code)
    }

    /// A cluster with the hosts 1, 2 and 3.
    fn three() -> ClusterState {
        let mut state = ClusterState::default();
        let create = Command::CreateCluster(CreateCluster {
            id: "00".to_owned(),
            name: "prod".to_owned(),
            spec_yaml: "one".to_owned(),
            host_name: "cp1".to_owned(),
            address: "10.77.0.11".parse().unwrap(),
            key_pin: String::new(),
            authorities: Vec::new(),
            secrets: Vec::new(),
        });
        apply(&mut state, create).unwrap();
        for id in [2_u64, 3] {
            let mut host = state.hosts["cp1"].clone();
            host.id = id;
            host.name = format!("cp{id}");
            state.hosts.insert(host.name.clone(), host);
        }
        state
    }

    fn change(based_on: u64, why: &str) -> Command {
        Command::ChangeArguments {
            based_on,
            yaml: "next".to_owned(),
            why: why.to_owned(),
        }
    }

    fn step(host_id: u64, revision: u64, keep: bool) -> Command {
        Command::StepArguments {
            host_id,
            revision,
            keep,
        }
    }

    fn drain(host_id: u64, revision: u64) -> Command {
        Command::DrainHost { host_id, revision }
    }

    fn seen(state: &ClusterState) -> [Option<u64>; 3] {
        [1, 2, 3].map(|id| state.arguments_of(id))
    }

    #[test]
    fn another_revision_goes_through_the_cluster_host_by_host() {
        let mut state = three();
        assert_eq!(seen(&state), [None; 3]);
        assert_eq!(apply(&mut state, change(1, "")), Ok(2));
        assert_eq!(seen(&state), [Some(1); 3]);
        apply(&mut state, step(1, 2, false)).unwrap();
        assert_eq!(seen(&state), [Some(2), Some(1), Some(1)]);
        assert_eq!(
            apply(&mut state, step(2, 2, false)),
            Err("KHA2330"),
            "two at once"
        );
        apply(&mut state, step(1, 2, true)).unwrap();
        for id in [2, 3] {
            apply(&mut state, step(id, 2, false)).unwrap();
            apply(&mut state, step(id, 2, true)).unwrap();
        }
        assert_eq!(seen(&state), [None; 3]);
        assert_eq!(state.arguments.revision, 2);
    }

    #[test]
    fn a_host_is_drained_in_its_turn_and_takes_nothing_by_that() {
        let mut state = three();
        assert_eq!(apply(&mut state, drain(1, 0)), Err("KHA2330"));
        apply(&mut state, change(1, "")).unwrap();
        assert_eq!(apply(&mut state, drain(1, 1)), Err("KHA2330"));
        apply(&mut state, drain(1, 2)).unwrap();
        apply(&mut state, drain(1, 2)).unwrap();
        assert_eq!(seen(&state), [Some(1); 3]);
        assert_eq!(state.arguments.in_turn(), Some(1));
        assert_eq!(apply(&mut state, drain(2, 2)), Err("KHA2330"));
        assert_eq!(apply(&mut state, step(2, 2, false)), Err("KHA2330"));
        assert_eq!(apply(&mut state, step(1, 2, true)), Err("KHA2330"));
        apply(&mut state, step(1, 2, false)).unwrap();
        assert_eq!(
            state.arguments.hosts[&1],
            HostArguments {
                revision: 2,
                before: Some(1)
            }
        );
        apply(&mut state, step(1, 2, true)).unwrap();
        assert_eq!(state.arguments.in_turn(), None);
    }

    #[test]
    fn what_was_not_taken_is_not_kept_and_an_old_revision_is_not_taken() {
        let mut state = three();
        assert_eq!(apply(&mut state, step(1, 0, false)), Err("KHA2330"));
        apply(&mut state, change(1, "")).unwrap();
        assert_eq!(apply(&mut state, step(1, 2, true)), Err("KHA2330"));
        assert_eq!(apply(&mut state, step(1, 1, false)), Err("KHA2330"));
        assert_eq!(apply(&mut state, change(1, "")), Err("KHA2302"));
    }

    #[test]
    fn a_newer_revision_is_taken_by_the_host_in_turn_first_and_it_goes_back_to_what_worked() {
        let mut state = three();
        apply(&mut state, change(1, "")).unwrap();
        apply(&mut state, step(1, 2, false)).unwrap();
        assert_eq!(apply(&mut state, change(2, "cp1: it ended")), Ok(3));
        let back = state.arguments.rolled_back.clone().unwrap();
        assert_eq!((back.revision, back.why.as_str()), (2, "cp1: it ended"));
        assert_eq!(apply(&mut state, step(2, 3, false)), Err("KHA2330"));
        apply(&mut state, step(1, 3, false)).unwrap();
        assert_eq!(
            state.arguments.hosts[&1],
            HostArguments {
                revision: 3,
                before: Some(1)
            }
        );
    }

    #[test]
    fn a_host_that_is_gone_holds_its_turn_no_longer() {
        let mut state = three();
        apply(&mut state, change(1, "")).unwrap();
        apply(&mut state, step(1, 2, false)).unwrap();
        state.hosts.remove("cp1");
        apply(&mut state, step(2, 2, false)).unwrap();
        assert_eq!(state.arguments.in_turn(), Some(2));
    }
}
