//! What a host knows of itself, and what it reports to the leader. Facts are observed, never
//! decided; plans are made from them.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use crate::component::ComponentName;

/// Everything a plan may know of its own host. Times are milliseconds of CLOCK_BOOTTIME.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Files below khactl's folders, by path.
    pub files: BTreeMap<String, FileFact>,
    /// Leaves with their keys present on this host, by `khactl_pki::LeafKind` name.
    pub leaves: BTreeMap<String, LeafFact>,
    /// Processes that were ever started and not forgotten.
    pub processes: BTreeMap<ComponentName, ProcessFact>,
    /// The last lines of the log of each component that ended soon after its start, oldest first.
    #[serde(default)]
    pub last_lines: BTreeMap<ComponentName, Vec<String>>,
    /// Who had the port that such a component complained of, for people.
    #[serde(default)]
    pub strangers: BTreeMap<ComponentName, String>,
    /// What the probes of each component that is probed have come to.
    pub probes: BTreeMap<ComponentName, ProbeFact>,
    /// etcd's data folder holds a member.
    pub etcd_data: bool,
    /// etcd's members as this host's own member tells; `None`: it did not answer.
    pub etcd_members: Option<Vec<EtcdMemberFact>>,
    /// khavip's own status; `None`: it did not answer.
    pub vip: Option<VipFact>,
    /// The file of `balancer.health.caFile`; `None`: the spec names none.
    #[serde(default)]
    pub health_ca: Option<HealthCaFact>,
    /// A linearizable read of the cluster state has succeeded since this boot (docs/lease.md, A8).
    pub confirmed: bool,
    /// Hosts whose API server fails its own readiness probe, or that go down, as the leader told lately.
    #[serde(default)]
    pub unready: BTreeSet<u64>,
}

/// The authorities in `balancer.health.caFile` as this host has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCaFact {
    /// The certificates as they were when the file was last good; empty if it never was since the agent started.
    pub pem: String,
    /// Why the file is of no use now; empty if it is good.
    pub wrong: String,
}

/// A file as it is on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFact {
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner's name, or its number where it has none.
    pub owner: String,
}

/// A leaf as it is on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafFact {
    /// Seconds since the Unix epoch.
    pub not_before_s: i64,
    /// Seconds since the Unix epoch.
    pub not_after_s: i64,
    /// Names and addresses it holds, sorted.
    pub sans: Vec<String>,
    /// SHA-256 of the issuing authority's certificate, in hexadecimal.
    pub authority: String,
}

/// A supervised process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessFact {
    /// Its id; meaningless once it has ended.
    pub pid: u32,
    /// Whether it lives.
    pub running: bool,
    /// Digest of everything it was started with; empty: that is not known, or not what it runs.
    pub digest: String,
    /// When it was started.
    pub started_at_ms: u64,
    /// Clock ticks between boot and its start, as the kernel tells; with the id they name the process.
    #[serde(default)]
    pub start_ticks: u64,
    /// How it ended.
    pub exit: Option<ExitFact>,
    /// How it, or the one before it, last ended.
    #[serde(default)]
    pub last_exit: Option<ExitFact>,
    /// Consecutive ends within [`STABLE_MS`] of the start; a stable run sets it to 0.
    pub quick_exits: u32,
}

/// A run of that length makes the next end the first one again.
pub const STABLE_MS: u64 = 60_000;

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitFact {
    /// When.
    pub at_ms: u64,
    /// `exit code 1`, `signal 9`, `unknown (adopted)`, or why it could not be started.
    pub how: String,
}

/// What the probes of a component have come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeFact {
    /// Whether it serves.
    pub ready: bool,
    /// Why not.
    pub detail: String,
    /// Why it passes for hung, or for never coming up; `None`: it does not.
    #[serde(default)]
    pub hung: Option<String>,
    /// It has served, or has run for long enough to, and its readiness probe has failed since as often in a row as its
    /// threshold says. Unlike what is not ready, this is never a process that is not known yet.
    #[serde(default)]
    pub failing: bool,
}

/// A member as etcd lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EtcdMemberFact {
    /// etcd's id.
    pub id: u64,
    /// Its name; empty until it has been started.
    pub name: String,
    /// Where it meets the others.
    pub peer_urls: Vec<String>,
    /// Without a vote.
    pub learner: bool,
}

/// What khavip says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipFact {
    /// Digest of the feed it works with; empty before the first.
    pub fed: String,
    /// The host that it believes to hold the VIP.
    pub holder: Option<u64>,
    /// It holds the VIP itself.
    pub holding: bool,
    /// The lease epoch it works with.
    pub epoch: u64,
    /// The fence it has recorded (docs/lease.md, A9).
    pub fence: u64,
    /// Ready and past its silence (docs/lease.md, A8, M3).
    pub ready: bool,
    /// Its backends: host name and whether it is healthy.
    pub backends: Vec<(String, bool)>,
    /// Hosts of those backends that get no new connections.
    #[serde(default)]
    pub draining: Vec<String>,
    /// Real-time priority was granted.
    pub realtime: bool,
    /// Its memory is locked.
    pub locked: bool,
    /// What is wrong, for people.
    pub problems: Vec<String>,
    /// It can serve: it may become the holder.
    #[serde(default)]
    pub fit: bool,
    /// Why it does not hold the VIP, for people; empty while it does.
    #[serde(default)]
    pub reason: String,
    /// What of the kernel enforces the lease.
    #[serde(default)]
    pub gate: GateFact,
    /// What it measures all the time.
    #[serde(default)]
    pub measured: VipMeasured,
    /// Processes of its host that it has confirmed to kill within the fence's time when no majority of the lease's members
    /// answers it (docs/fence.md).
    #[serde(default)]
    pub fenced_components: Vec<FencedComponent>,
}

/// A process that does not outlive its host's contact with a majority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FencedComponent {
    /// Which component.
    pub name: ComponentName,
    /// Its process' id.
    pub pid: u32,
    /// Clock ticks between boot and its start; with the id they name the process.
    pub start_ticks: u64,
    /// The holder of the component's Lease that was seen while this process ran: it is this process, or one of the same
    /// machine that ended before it. `None`: no such holder was seen.
    #[serde(default)]
    pub identity: Option<String>,
}

/// What of the kernel holds back the VIP's packets while a host has no right to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateFact {
    /// `bpf`, `nft` or `none`; empty while khavip has not told.
    pub kind: String,
    /// Why it is not `bpf`, for people.
    pub reason: String,
}

/// What decides how short a lease a host bears.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipMeasured {
    /// How much later than asked for the lease thread woke up: ninety-nine of a hundred times at the most, in
    /// microseconds.
    pub lateness_us_p99: u32,
    /// The same, the worst.
    pub lateness_us_max: u32,
    /// The other members.
    pub peers: Vec<VipPeerFact>,
}

/// Another member of the lease, as khavip hears it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipPeerFact {
    /// The host.
    pub host_id: u64,
    /// From a question to its answer, half of them at the most, in microseconds; 0 while there was none.
    pub rtt_us_p50: u32,
    /// The same, the worst.
    pub rtt_us_max: u32,
    /// Since it was heard last, in milliseconds; the greatest number if it never was.
    pub silent_ms: u32,
}

/// What a host tells the leader, about once a second and at every change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostReport {
    /// The host.
    pub host_id: u64,
    /// khad's version.
    pub version: String,
    /// What the machine calls itself: identities of components begin with it.
    #[serde(default)]
    pub machine: String,
    /// Its components.
    pub components: Vec<ComponentReport>,
    /// Its khavip.
    pub vip: Option<VipFact>,
    /// What is wrong on the host apart from its components.
    pub problems: Vec<crate::status::Problem>,
    /// Its leaves and when they end, in seconds since the Unix epoch.
    pub certificates: BTreeMap<String, i64>,
    /// The revision of the spec whose arguments its components are to run with; 0: the newest.
    #[serde(default)]
    pub arguments: u64,
    /// Its API server fails its own readiness probe ([`ProbeFact::failing`]), or the host goes down.
    #[serde(default)]
    pub unready: bool,
}

/// How a component of a host is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentReport {
    /// Which one.
    pub name: ComponentName,
    /// How it is.
    pub state: ComponentState,
    /// Why it is not ready.
    pub detail: String,
    /// Its process.
    pub pid: Option<u32>,
    /// Consecutive quick ends.
    pub quick_exits: u32,
    /// How long its process has run, in milliseconds; 0 while none does.
    #[serde(default)]
    pub ran_ms: u64,
    /// How it last ended, if that was soon after its start.
    #[serde(default)]
    pub crash: Option<CrashFact>,
}

/// How a component last ended, while that is of interest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashFact {
    /// `exit code 1`, `signal 9`, or in words.
    pub how: String,
    /// Consecutive ends soon after the start.
    pub ends: u32,
    /// It ends again and again: a crash loop.
    pub looping: bool,
    /// Why, as far as it can be told.
    pub cause: Option<CauseFact>,
    /// The last twenty lines of its log, oldest first.
    pub last_lines: Vec<String>,
}

/// Why a process probably ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseFact {
    /// `KHA…`
    pub code: String,
    /// For people.
    pub text: String,
    /// What to do.
    pub advice: String,
}

/// How a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComponentState {
    /// It serves.
    Ready,
    /// It runs and does not serve yet, or no longer.
    Starting,
    /// What it needs is not there yet.
    Waiting,
    /// It ended and is started again after a while.
    BackOff,
    /// This host does not run it.
    Absent,
}
