//! Hosts that leave for good, and those that have left: who is removed never comes back by itself.

use serde::{Deserialize, Serialize};

use super::{ClusterState, Host, OperationState, REMOVED_MAX, Refused};
use crate::command::{Entry, OperationKind, StepState};

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
                "let another host join first",
            ));
        }
        let operation = self.start_operation(entry, OperationKind::Remove, host_name);
        let host = self.hosts.get_mut(host_name).expect("looked up above");
        host.removal = Some(Removal { operation, forced });
        Ok(operation)
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
