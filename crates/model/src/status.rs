//! What `khactl status` shows. Scripts depend on these fields: they are extended, never
//! changed.

use serde::{Deserialize, Serialize};

use crate::facts::{ComponentState, CrashFact};

/// The cluster as the leader sees it, or as one host sees it while there is no leader.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The cluster's name; empty on an agent that is no member.
    pub cluster: String,
    /// Its id.
    pub cluster_id: String,
    /// The spec's revision.
    pub revision: u64,
    /// The Raft leader's host name.
    pub leader: Option<String>,
    /// The Raft term.
    pub term: u64,
    /// The VIP.
    pub vip: VipStatus,
    /// Every host.
    pub hosts: Vec<HostStatus>,
    /// Every component of every host.
    pub components: Vec<ComponentStatus>,
    /// etcd's members.
    pub etcd: Vec<EtcdStatus>,
    /// Certificates by host.
    pub certificates: Vec<CertificateStatus>,
    /// The newest operations, newest first.
    pub operations: Vec<OperationStatus>,
    /// What the next change of membership waits for; empty if none is due.
    #[serde(default)]
    pub waiting: String,
    /// What is wrong and what to do.
    pub problems: Vec<Problem>,
    /// Which host's view this is.
    pub seen_by: String,
}

/// The floating address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipStatus {
    /// As in the spec.
    pub addresses: Vec<String>,
    /// The balancer's port there.
    pub port: u16,
    /// The host that holds it.
    pub holder: Option<String>,
    /// The lease's epoch.
    pub epoch: u64,
    /// How the holder is enforced, in words.
    pub fencing: String,
    /// The lease time in milliseconds; 0 while the spec is not known.
    #[serde(default)]
    pub lease_ms: u32,
    /// The quickest profile that all hosts bear, by what their khavips measure; empty while that is not known, or if
    /// they bear none.
    #[serde(default)]
    pub bears: String,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Its name.
    pub name: String,
    /// Its own address.
    pub address: String,
    /// `control-plane` or `witness`.
    pub role: String,
    /// `ready`, `joining`, `leaving`, `degraded` or `silent`.
    pub state: String,
    /// `voter`, `learner` or `absent`.
    pub raft: String,
    /// `voter`, `learner` or `absent`.
    pub etcd: String,
    /// Takes part in the VIP's lease.
    pub lease: bool,
    /// Why it does not hold the VIP, in words; `holds` if it does, empty if it does not tell.
    #[serde(default)]
    pub vip: String,
    /// khad's version, where it reported.
    pub version: String,
}

/// A component of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentStatus {
    /// The host.
    pub host: String,
    /// The component.
    pub name: String,
    /// How it is.
    pub state: ComponentState,
    /// Why it is not ready.
    pub detail: String,
    /// Its process.
    pub pid: Option<u32>,
    /// How it last ended, if that was soon after its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash: Option<CrashFact>,
}

/// An etcd member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdStatus {
    /// The host.
    pub host: String,
    /// etcd's id, in hexadecimal.
    pub member_id: String,
    /// `learner` or `voter`.
    pub stage: String,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The host.
    pub host: String,
    /// Which leaf.
    pub name: String,
    /// Seconds since the Unix epoch.
    pub not_after_s: i64,
}

/// An operation of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationStatus {
    /// Its id.
    pub id: u64,
    /// `init`, `join`, `remove`, `leave`.
    pub kind: String,
    /// The host it is about.
    pub host: String,
    /// `running`, `done` or `failed`.
    pub state: String,
    /// The step it is at.
    pub step: String,
    /// Milliseconds since the Unix epoch.
    pub started_at_ms: i64,
}

/// An operation of the journal with all its steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Its id.
    pub id: u64,
    /// What it does, for which host, by whom, and how far it is.
    #[serde(flatten)]
    pub operation: crate::state::Operation,
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `KHA…`
    pub code: String,
    /// The host it concerns; empty: the cluster.
    pub host: String,
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub advice: String,
}
