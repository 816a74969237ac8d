//! What a host shows of itself before it runs a control plane, and what hosts show of the paths between them. Facts
//! are observed by `khactl_host` and judged by `khactl_plan`; nothing here says whether they are good.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The cgroups that components could have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CgroupFacts {
    /// Where the unified hierarchy is mounted; `None`: it is not.
    pub unified: Option<String>,
    /// Folders can be made there.
    pub writable: bool,
    /// The controllers that the unified hierarchy has.
    pub controllers: BTreeSet<String>,
}

/// A place to which memory is moved when it runs short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwapArea {
    /// The device or file.
    pub name: String,
    /// Its size in KiB.
    pub kib: u64,
}

/// Who keeps this host's clock right, and how well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClockFacts {
    /// The programs that do so and run, such as `chronyd`.
    pub services: BTreeSet<String>,
    /// What the kernel says; `None`: it was not permitted to ask.
    pub kernel: Option<KernelClock>,
    /// The most by which chrony may slew the clock as it is configured, in millionths; `None`: chrony is not configured.
    pub chrony_slew_ppm: Option<u32>,
}

/// The kernel's own view of its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelClock {
    /// Somebody keeps telling it the time.
    pub synchronized: bool,
    /// The greatest error that it believes in, in microseconds.
    pub error_us: u64,
    /// By how much it runs quicker than its hardware now, in millionths.
    pub rate_ppm: i64,
}

/// How long writes take until the disk has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncFacts {
    /// The folder in which it was tried.
    pub folder: String,
    /// It lies in memory: nothing in it is there after a power cut.
    pub volatile: bool,
    /// How many writes were measured.
    pub writes: u32,
    /// Half of them took as long at the most, in microseconds.
    pub p50_us: u64,
    /// Ninety-nine of a hundred, in microseconds.
    pub p99_us: u64,
    /// The slowest, in microseconds.
    pub max_us: u64,
}

/// What the resolver says of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameFacts {
    /// The name.
    pub name: String,
    /// It is this host's own.
    pub own: bool,
    /// What came.
    pub answer: NameAnswer,
}

/// An answer of the resolver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameAnswer {
    /// These addresses; one at the least.
    Addresses(BTreeSet<IpAddr>),
    /// None, and why, for people.
    Nothing(String),
    /// Nothing within that many milliseconds.
    Late(u64),
}

/// What other programs of the same kind have left on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// The pods that a kubelet would run from files, by file name without its ending.
    pub static_pods: BTreeSet<String>,
    /// An etcd member's data where kubeadm puts it.
    pub etcd_data: Option<String>,
    /// Other programs that make a control plane, or stand before one.
    pub programs: BTreeMap<OtherProgram, Presence>,
    /// Every address in the configuration of something that could hold a VIP, by the file.
    pub addresses: BTreeMap<String, BTreeSet<IpAddr>>,
}

/// A program that does what khactl does, or runs what does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OtherProgram {
    /// Runs static pods: kubeadm's control plane, or kube-vip.
    Kubelet,
    /// A control plane in one program.
    K3s,
    /// The same.
    Rke2,
    /// Holds floating addresses.
    Keepalived,
    /// Balances over API servers.
    Haproxy,
}

impl OtherProgram {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Kubelet,
        Self::K3s,
        Self::Rke2,
        Self::Keepalived,
        Self::Haproxy,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kubelet => "kubelet",
            Self::K3s => "k3s",
            Self::Rke2 => "rke2",
            Self::Keepalived => "keepalived",
            Self::Haproxy => "haproxy",
        }
    }

    /// The unit by which systemd starts it as a server.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Kubelet => "kubelet.service",
            Self::K3s => "k3s.service",
            Self::Rke2 => "rke2-server.service",
            Self::Keepalived => "keepalived.service",
            Self::Haproxy => "haproxy.service",
        }
    }
}

/// How much a program is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Presence {
    /// It runs now, in this host's network.
    pub running: bool,
    /// It starts with the host.
    pub enabled: bool,
}

/// What a bundle says that it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BundleVersions {
    /// Its folder.
    pub folder: String,
    /// Of Kubernetes.
    pub kubernetes: String,
    /// Of etcd.
    pub etcd: String,
    /// Each program's own.
    pub programs: BTreeMap<String, String>,
}

/// How one host reaches another; it travels from the host that tried to the one that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathFacts {
    /// The host that tried.
    pub from: String,
    /// The host that was tried: its name, or its address before there is a cluster.
    pub to: String,
    /// Its address.
    pub address: IpAddr,
    /// The TCP ports that were tried.
    pub ports: BTreeMap<u16, PortAnswer>,
    /// Packets as large as the interface takes them, that nobody on the way may cut.
    pub full_size: FullSize,
    /// The slowest of some small packets, there and back, in microseconds; `None`: none came back, or none was tried.
    #[serde(default)]
    pub round_trip_us: Option<u32>,
    /// What became of a datagram to the port of the lease; `None`: none was sent.
    #[serde(default)]
    pub datagram: Option<PortAnswer>,
    /// How long the lease's datagrams from there have not come, in milliseconds; `None`: none are to come.
    pub lease_silent_ms: Option<u32>,
}

/// What became of a connection that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortAnswer {
    /// Somebody took it.
    Open,
    /// The host said that nobody listens.
    Refused,
    /// Nothing came.
    Silent,
    /// The network, or this host's own rules, said that there is no way; for people.
    NoWay(String),
}

/// What became of full-size packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FullSize {
    /// They were answered.
    Passes {
        /// Bytes.
        mtu: u32,
    },
    /// Somebody on the way said that only smaller ones pass: senders learn it.
    Smaller {
        /// Bytes that were tried.
        mtu: u32,
        /// Bytes that pass.
        passes: u32,
    },
    /// Small ones are answered, and these vanish.
    Lost {
        /// Bytes.
        mtu: u32,
    },
    /// Not even small ones are answered.
    Silent,
    /// It could not be tried; for people.
    Untried(String),
}
