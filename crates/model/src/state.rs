//! The replicated state: a pure function of the log.
//!
//! Every host applies the same entries in the same order; time comes from the entry. A
//! command that does not fit the state is refused with a code and changes nothing.

mod apply;
mod arguments;
mod host;
mod operation;
mod removal;
mod token;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

pub use crate::command::{SealedAuthority, SealedSecret};
pub use apply::{AUDIT_MAX, HOSTS_MAX, REMOVED_MAX, Refused, TOKENS_MAX};
pub use arguments::{Arguments, HostArguments, RolledBack};
pub use host::{EtcdMember, EtcdStage, Host, Role};
pub use operation::{Operation, OperationState, Step};
pub use removal::{IRREVOCABLE, Removal, RemovedHost};
pub use token::{Token, TokenFault};

/// Everything the cluster has agreed on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterState {
    /// `None` until the first entry.
    pub cluster: Option<Cluster>,
    /// The spec's revisions, oldest first.
    pub specs: Vec<SpecRevision>,
    /// Hosts by name.
    pub hosts: BTreeMap<String, Host>,
    /// The newest hosts that were removed, by their ids, at most [`REMOVED_MAX`].
    #[serde(default)]
    pub removed: BTreeMap<u64, RemovedHost>,
    /// Authorities by name.
    pub authorities: BTreeMap<String, SealedAuthority>,
    /// Other sealed secrets by name.
    pub secrets: BTreeMap<String, SealedSecret>,
    /// Join tokens by id.
    pub tokens: BTreeMap<String, Token>,
    /// Who takes part in the VIP's lease.
    pub lease: LeaseMembership,
    /// Which arguments the hosts' components run with.
    #[serde(default)]
    pub arguments: Arguments,
    /// The journal, by operation id.
    pub operations: BTreeMap<u64, Operation>,
    /// The newest audit entries, oldest first, at most [`AUDIT_MAX`].
    pub audit: VecDeque<AuditEntry>,
    /// The id that the next host gets; ids are never used twice.
    pub next_host_id: u64,
    /// The id that the next operation gets.
    pub next_operation_id: u64,
}

/// Which cluster this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// 32 hexadecimal digits.
    pub id: String,
    /// `metadata.name` of the spec.
    pub name: String,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: i64,
}

/// One revision of the spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecRevision {
    /// Counts from 1.
    pub revision: u64,
    /// The validated text.
    pub yaml: String,
    /// Who applied it.
    pub actor: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

/// Who takes part in the VIP's lease (docs/lease.md, M1–M3).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseMembership {
    /// Counts the changes; 0 before the first.
    pub epoch: u64,
    /// Host ids.
    pub members: Vec<u64>,
}

/// Who did what, when, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Who.
    pub actor: String,
    /// What, without secrets.
    pub action: String,
    /// `ok` or the refusal's code.
    pub outcome: String,
}

impl ClusterState {
    /// The spec in force; `None` before the cluster is made.
    pub fn spec_yaml(&self) -> Option<&str> {
        self.specs.last().map(|s| s.yaml.as_str())
    }

    /// Whether khactl runs the cluster's etcd and control plane: the cluster was made with an authority for
    /// etcd. In external mode it was not, and hosts have no members.
    pub fn runs_etcd(&self) -> bool {
        self.authorities.contains_key("etcd")
    }

    /// The host with that id.
    pub fn host_by_id(&self, id: u64) -> Option<&Host> {
        self.hosts.values().find(|h| h.id == id)
    }

    /// The newest operation of that kind for that host.
    pub fn operation_of(
        &self,
        kind: crate::command::OperationKind,
        host_name: &str,
    ) -> Option<(u64, &Operation)> {
        self.operations
            .iter()
            .rev()
            .find(|(_, o)| o.kind == kind && o.host_name == host_name)
            .map(|(id, o)| (*id, o))
    }
}
