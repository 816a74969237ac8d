//! What makes this host a member: a small file that is written once and read at every start.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// This host's membership, `state/member.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// 32 hexadecimal digits.
    pub cluster_id: String,
    /// The cluster's name.
    pub cluster_name: String,
    /// This host's id.
    pub host_id: u64,
    /// This host's name when it became a member.
    pub host_name: String,
    /// This host's own address.
    pub address: IpAddr,
    /// Raft's times, as the spec had them when this host became a member.
    pub raft: RaftTimes,
    /// Members to ask while the log has not reached this host yet.
    pub contacts: Vec<Contact>,
}

impl Member {
    /// Whether this host founded its cluster: it had nobody to ask.
    pub fn is_founder(&self) -> bool {
        self.host_id == 1 && self.contacts.is_empty()
    }
}

/// Raft's times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RaftTimes {
    /// Between a leader's messages.
    pub heartbeat_ms: u64,
    /// Least silence before a follower campaigns.
    pub election_min_ms: u64,
    /// Most silence before a follower campaigns; also Raft's lease.
    pub election_max_ms: u64,
}

/// Another member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contact {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Where its agent listens.
    pub address: SocketAddr,
}

impl RaftTimes {
    /// As a spec says.
    pub fn of(spec: &khactl_model::spec::ClusterSpec) -> Self {
        Self {
            heartbeat_ms: spec.raft.heartbeat_ms.into(),
            election_min_ms: spec.raft.election_timeout_ms[0].into(),
            election_max_ms: spec.raft.election_timeout_ms[1].into(),
        }
    }
}
