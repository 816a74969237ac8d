//! Hosts that leave for good, and those that have left: who is removed never comes back by itself.

use serde::{Deserialize, Serialize};

use super::{ClusterState, Host, OperationState, REMOVED_MAX, Refused};
use crate::command::{Entry, OperationKind, StepState};

/// The step of a removal from which on it can only go on: etcd forgets the member's data, and Raft its vote.
pub const IRREVOCABLE: &str = "irrevocable";
/// The last step of a removal that was given up.
const ABORTED: &str = "aborted";

/// A removal under way, in the host's own record. From here on the host takes part in nothing new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Its operation in the journal.
    pub operation: u64,
    /// Whoever asked for it knows that fewer faults are borne afterwards.
    pub forced: bool,
}

/// A host that was removed. Its certificate is valid still: by this record the others refuse it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedHost {
    /// Its name; another host may have it by now.
    pub name: String,
    /// SHA-256 of its agent's public key, in hexadecimal.
    pub key_pin: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

impl ClusterState {
    /// The hosts that are to stay, in the order of their names.
    pub fn staying(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values().filter(|host| host.removal.is_none())
    }

    /// The removed host that has this key.
    pub fn removed_by_key(&self, key_pin: &str) -> Option<&RemovedHost> {
        self.removed.values().find(|host| host.key_pin == key_pin)
    }

    pub(super) fn start_removal(
        &mut self,
        entry: &Entry,
        host_name: &str,
        forced: bool,
        leaves: bool,
    ) -> Result<u64, Refused> {
        let host = self.hosts.get(host_name).ok_or_else(|| {
            Refused::new(
                "KHA2020",
                format!("there is no host {host_name}"),
                "`khactl status` shows those there are",
            )
        })?;
        if let Some(removal) = &host.removal {
            // Asked for again: a removal under way goes on.
            return Ok(removal.operation);
        }
        if self.staying().all(|other| other.name == host_name) {
            return Err(Refused::new(
                "KHA2080",
                format!("{host_name} is the last host of the cluster"),
                "let another host join first; `khactl reset` on the last host ends the cluster",
            ));
        }
        let kind = if leaves {
            OperationKind::Leave
        } else {
            OperationKind::Remove
        };
        let operation = self.start_operation(entry, kind, host_name);
        self.journal(operation, "check", entry.at_ms);
        let host = self.hosts.get_mut(host_name).expect("looked up above");
        host.removal = Some(Removal { operation, forced });
        Ok(operation)
    }

    /// Whether the removal of that host may still be given up. One that the journal has forgotten may not.
    pub fn is_revocable(&self, removal: &Removal) -> bool {
        self.operations
            .get(&removal.operation)
            .is_some_and(|operation| !operation.finished(IRREVOCABLE))
    }

    /// Steps of a removal are journaled by the very entries that take them: whoever dies in between, the journal
    /// tells how far it came.
    pub(super) fn journal_removal_of(&mut self, host_id: u64, step: &str, at_ms: i64) {
        let removal = self.host_by_id(host_id).and_then(|h| h.removal.clone());
        if let Some(removal) = removal {
            self.journal(removal.operation, step, at_ms);
        }
    }

    fn journal(&mut self, operation: u64, step: &str, at_ms: i64) {
        if let Some(operation) = self.operations.get_mut(&operation)
            && !operation.finished(step)
        {
            operation.record(step, StepState::Finished, "", at_ms);
        }
    }

    pub(super) fn abort_removal(&mut self, entry: &Entry, id: u64) -> Result<u64, Refused> {
        let refused = |code, wrong: String| {
            let advice = "`khactl operation show` tells how far it is";
            Err(Refused::new(code, wrong, advice))
        };
        let Some(operation) = self.operations.get(&id) else {
            return refused("KHA2001", format!("operation {id} is not in the journal"));
        };
        let name = &operation.host_name;
        let what = format!("{} of {name}", operation.kind.as_str());
        match operation.state {
            // Asked for again after an answer that was lost.
            OperationState::Failed if operation.step_began(ABORTED) => return Ok(id),
            OperationState::Done | OperationState::Failed => {
                return refused("KHA2088", format!("the {what} is not under way any more"));
            }
            OperationState::Running => {}
        }
        let Some(removal) = self.hosts.get(name).and_then(|host| host.removal.clone()) else {
            return refused(
                "KHA2087",
                format!("the {what} cannot be aborted, only a removal can"),
            );
        };
        if removal.operation != id || !self.is_revocable(&removal) {
            return refused(
                "KHA2089",
                format!(
                    "the {what} is past the point of no return: its etcd member, or its vote, goes"
                ),
            );
        }
        if let Some(host) = self.hosts.get_mut(&operation.host_name) {
            host.removal = None;
        }
        if let Some(operation) = self.operations.get_mut(&id) {
            let text = format!("by {}", entry.actor);
            operation.record(ABORTED, StepState::Failed, &text, entry.at_ms);
        }
        Ok(id)
    }

    pub(super) fn finish_removal(&mut self, host_id: u64, at_ms: i64) -> Result<u64, Refused> {
        if self.removed.contains_key(&host_id) {
            return Ok(host_id);
        }
        let too_early = |wrong: String| {
            Refused::new(
                "KHA2081",
                wrong,
                "nothing to do: the leader plans the next step anew",
            )
        };
        let Some(host) = self.host_by_id(host_id) else {
            return Err(too_early(format!("there is no host with id {host_id}")));
        };
        let Some(removal) = host.removal.clone() else {
            return Err(too_early(format!("{} is not being removed", host.name)));
        };
        if self.lease.members.contains(&host_id) {
            return Err(too_early(format!(
                "{} still takes part in the VIP's lease",
                host.name
            )));
        }
        let (name, key_pin) = (host.name.clone(), host.key_pin.clone());
        self.journal(removal.operation, "consensus", at_ms);
        self.hosts.remove(&name);
        while self.removed.len() >= REMOVED_MAX {
            self.removed.pop_first();
        }
        self.removed.insert(
            host_id,
            RemovedHost {
                name,
                key_pin,
                at_ms,
            },
        );
        if let Some(operation) = self.operations.get_mut(&removal.operation)
            && operation.state == OperationState::Running
        {
            operation.record("done", StepState::Done, "", at_ms);
        }
        Ok(host_id)
    }
}
