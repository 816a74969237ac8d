//! What a plan may ask for: a closed list of verbs. An executor carries each out without
//! deciding anything, and each may be carried out twice.

use khactl_model::command::Command;
use khactl_model::component::ComponentName;
use khactl_model::facts::FencedComponent;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// One thing to do on this host or, by the leader, in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make a folder with this mode and owner, or mend it.
    EnsureFolder {
        /// Absolute.
        path: String,
        /// Permission bits.
        mode: u32,
        /// A user's name; `None`: root.
        owner: Option<&'static str>,
    },
    /// Write a file with its mode from the moment it exists.
    WriteFile {
        /// Absolute.
        path: String,
        /// Permission bits.
        mode: u32,
        /// A user's name; `None`: root.
        owner: Option<&'static str>,
        /// What it holds.
        content: Content,
    },
    /// Make a key on this host, have the leader sign its request, write both.
    IssueCertificate {
        /// `khactl_pki::LeafKind`'s name.
        leaf: &'static str,
        /// Where the certificate goes (0644).
        cert: String,
        /// Where the key goes (0600).
        key: String,
        /// The user who owns both; `None`: root.
        owner: Option<&'static str>,
    },
    /// Run this process, replacing one that was started with another digest.
    EnsureProcess(ProcessSpec),
    /// End a process in order: SIGTERM, the grace, SIGKILL to its group.
    StopProcess {
        /// Which one.
        name: ComponentName,
        /// How long it may take.
        grace_ms: u64,
    },
    /// End a process that hangs, and count its end among those that were not asked for. Another process than that
    /// one is left alone.
    EndHung {
        /// Which component.
        name: ComponentName,
        /// The process that hangs.
        pid: u32,
        /// How long it may take to end by itself.
        grace_ms: u64,
        /// Why it passes for hung, for people.
        why: String,
    },
    /// Tell khavip what to work with.
    FeedVip(Box<VipFeed>),
    /// Put a command into the log.
    Propose(Command),
    /// Leader: make a host a Raft learner.
    RaftAddLearner {
        /// The host's id.
        host_id: u64,
    },
    /// Leader: make a caught-up Raft learner a voter.
    RaftPromote {
        /// The host's id.
        host_id: u64,
    },
    /// Leader: take a host out of Raft, voter or learner.
    RaftRemove {
        /// The host's id.
        host_id: u64,
    },
    /// Leader: let another voter lead, which has caught up.
    RaftTransfer {
        /// The id of the host that is to lead.
        host_id: u64,
    },
    /// Leader: take a host's member out of etcd.
    EtcdRemove {
        /// The host.
        host_name: String,
        /// etcd's id of the member.
        member_id: u64,
    },
    /// Leader: add a host's member to etcd without a vote.
    EtcdAddLearner {
        /// The host.
        host_name: String,
        /// Where its member will meet the others.
        peer_url: String,
    },
    /// Leader: give a caught-up etcd learner its vote.
    EtcdPromote {
        /// The host.
        host_name: String,
        /// etcd's id of the member.
        member_id: u64,
    },
}

impl Effect {
    /// Whether it concerns khavip, whose own loop carries it out.
    pub fn is_khavips(&self) -> bool {
        match self {
            Self::FeedVip(_) => true,
            Self::EnsureProcess(process) => process.name == ComponentName::Khavip,
            Self::StopProcess { name, .. } | Self::EndHung { name, .. } => {
                *name == ComponentName::Khavip
            }
            _ => false,
        }
    }
}

/// What a file holds. Secrets stay sealed in a plan; the executor opens them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// This text.
    Text(String),
    /// The private key of an authority, unsealed by the executor.
    AuthorityKey(&'static str),
    /// A sealed secret, unsealed by the executor.
    Secret(&'static str),
}

/// A process as it is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// Which component.
    pub name: ComponentName,
    /// The program's file name in the bundle; khavip lies beside khad instead.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment; nothing else is passed on.
    pub env: Vec<(String, String)>,
    /// The user it runs as; `None`: root.
    pub user: Option<String>,
    /// The bundle's folder; `None`: beside khad.
    pub bundle: Option<String>,
}

/// Everything that khavip works with: the whole desired state, told again at any change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipFeed {
    /// 32 hexadecimal digits.
    pub cluster_id: String,
    /// This host's id.
    pub host_id: u64,
    /// This host's own address; the lease is kept at its port 9443/udp.
    pub address: IpAddr,
    /// The lease's epoch.
    pub epoch: u64,
    /// The epoch comes from a linearizable read made after this boot (A8).
    pub confirmed: bool,
    /// Who takes part.
    pub members: Vec<LeaseMember>,
    /// Lease time.
    pub lease_ms: u32,
    /// The addresses, each as in the spec (`10.77.0.100/24`).
    pub vips: Vec<String>,
    /// `auto` or a name.
    pub interface: String,
    /// The balancer's port on the VIP and on loopback.
    pub port: u16,
    /// As in the spec: `round-robin`
    pub method: String,
    /// The apiservers.
    pub backends: Vec<Backend>,
    /// Active checks.
    pub health: Health,
    /// Whether backends are told who their clients are.
    pub proxy_protocol: bool,
    /// What clients may take.
    pub limits: Limits,
    /// Processes of this host that must not outlive its contact with a majority.
    pub fenced: Vec<FencedComponent>,
}

/// A host that takes part in the lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseMember {
    /// Its id.
    pub host_id: u64,
    /// Its name.
    pub host: String,
    /// Its lease's address.
    pub address: SocketAddr,
    /// 0 is preferred most.
    pub preference: u8,
    /// A witness only accepts.
    pub proposer: bool,
}

/// An apiserver behind the balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// The host's name.
    pub host: String,
    /// Where it serves.
    pub address: SocketAddr,
    /// Its share beside the others', 1 to 100.
    pub weight: u8,
    /// It is about to be stopped: it keeps what it has, and gets nothing new.
    pub draining: bool,
}

/// What clients may take of the balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Connections at one time.
    pub connections: u32,
    /// Of those, the ones that have said nothing yet.
    pub half_open: u32,
    /// How long a client may say nothing.
    pub half_open_ms: u32,
}

/// How backends are checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `http` or `https`.
    pub scheme: String,
    /// `/readyz`
    pub path: String,
    /// The authority that signs the backends' certificates; empty: not verified.
    pub ca_pem: String,
    /// Between checks.
    pub period_ms: u32,
    /// Of one check.
    pub timeout_ms: u32,
    /// Successes in a row that make a backend healthy.
    pub rise: u32,
    /// Failures in a row that make it unhealthy.
    pub fall: u32,
}
