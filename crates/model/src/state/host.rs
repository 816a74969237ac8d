//! A host of the cluster and how far it has joined.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

use super::Removal;

/// What a host does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything.
    ControlPlane,
    /// An agent and an etcd member without apiserver: it only votes.
    Witness,
}

impl Role {
    /// Its name on the command line and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Witness => "witness",
        }
    }

    /// The role of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::ControlPlane, Self::Witness]
            .into_iter()
            .find(|r| r.as_str() == name)
    }
}

/// How far a host's etcd member is. The order of joining: Raft learner and voter, etcd
/// learner and voter, lease member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EtcdStage {
    /// Not a member yet.
    Absent,
    /// Added to etcd's membership without a vote.
    Learner,
    /// A full member: its apiserver may start.
    Voter,
}

impl EtcdStage {
    /// Its name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Learner => "learner",
            Self::Voter => "voter",
        }
    }

    /// The stage of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Absent, Self::Learner, Self::Voter]
            .into_iter()
            .find(|s| s.as_str() == name)
    }
}

/// A host's etcd member, as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdMember {
    /// How far it is.
    pub stage: EtcdStage,
    /// etcd's id; 0 while it is not known.
    pub member_id: u64,
    /// `name=url,…` for the first start.
    pub initial_cluster: String,
    /// Its data folder has been in service: from now on an empty one is a loss.
    pub started: bool,
}

/// A host of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Never used twice; also its Raft node id and its lease host id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its own address, never a VIP.
    pub address: IpAddr,
    /// What it does.
    pub role: Role,
    /// SHA-256 of its agent's public key, in hexadecimal.
    pub key_pin: String,
    /// Its etcd member.
    pub etcd: EtcdMember,
    /// Milliseconds since the Unix epoch.
    pub admitted_at_ms: i64,
    /// It is being removed; `None`: it is to stay.
    #[serde(default)]
    pub removal: Option<Removal>,
}

impl Host {
    /// Where its agent listens.
    pub fn agent_address(&self) -> std::net::SocketAddr {
        std::net::SocketAddr::new(self.address, crate::AGENT_PORT)
    }

    /// Where its etcd member meets the others.
    pub fn etcd_peer_url(&self) -> String {
        format!("https://{}", std::net::SocketAddr::new(self.address, 2380))
    }

    /// Where its etcd member serves clients.
    pub fn etcd_client_url(&self) -> String {
        format!("https://{}", std::net::SocketAddr::new(self.address, 2379))
    }
}
