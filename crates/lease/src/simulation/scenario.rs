//! What a run draws from: how many hosts, which lease times, which faults and how often. A negative control has a bias
//! towards what shows its rule's absence; the rules as they ship are run under everything.

use super::control::Control;

/// What can go wrong, or right again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// SIGKILL, then perhaps a release by `khad` (K1 to K6), then a new process.
    Kill,
    /// SIGKILL, and the record is gone.
    KillAndForget,
    /// SIGTERM: hand-over and end.
    Stop,
    Reboot,
    Stall,
    /// The whole machine sleeps; the clock may then be ahead of the real time.
    Suspend,
    /// Hears but is not heard.
    Mute,
    /// Is heard but does not hear.
    Deaf,
    CutLink,
    CutOff,
    Heal,
    Loss,
    Late,
    HandOver,
    /// Another lease time for the cluster.
    Profile,
    Fit,
    /// A recorded datagram once more.
    Replay,
    /// `khad` ends and is started again.
    Khad,
    /// `khad` hears nothing of Raft for a while.
    Lag,
    /// Another leader of Raft.
    Leader,
    /// `khad` believes a process dead that is not.
    FalseDeath,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Scenario {
    pub(super) control: Control,
    /// How many members there are at the start: one of these.
    pub(super) members: &'static [u64],
    /// How many other hosts may join, at the most.
    pub(super) spare: u64,
    pub(super) leases_ms: &'static [u32],
    /// How long things go wrong, in milliseconds: at least and at most.
    pub(super) span_ms: (u64, u64),
    /// How often the hosts are past their first silence when things begin.
    pub(super) formed_percent: u64,
    pub(super) faults: &'static [(Fault, u64)],
    /// Each seed leaves about half of the faults out, so that the others show more clearly.
    pub(super) swarm: bool,
    /// The mean time between two faults, in percent of the lease.
    pub(super) gap_percent: u64,
    /// At every instruction: how often a stall, how often a SIGKILL, in a million.
    pub(super) stall_ppm: u64,
    pub(super) kill_ppm: u64,
    /// How often the kernel does not close the gate, in a million.
    pub(super) stuck_ppm: u64,
    /// How often members change.
    pub(super) membership_percent: u64,
    /// Processes are started and fed at once.
    pub(super) prompt: bool,
}

const EVERY_FAULT: &[(Fault, u64)] = &[
    (Fault::Kill, 3),
    (Fault::KillAndForget, 1),
    (Fault::Stop, 1),
    (Fault::Reboot, 2),
    (Fault::Stall, 4),
    (Fault::Suspend, 1),
    (Fault::Mute, 2),
    (Fault::Deaf, 2),
    (Fault::CutLink, 3),
    (Fault::CutOff, 2),
    (Fault::Heal, 6),
    (Fault::Loss, 2),
    (Fault::Late, 2),
    (Fault::HandOver, 3),
    (Fault::Profile, 1),
    (Fault::Fit, 2),
    (Fault::Replay, 4),
    (Fault::Khad, 1),
    (Fault::Lag, 1),
    (Fault::Leader, 2),
];

impl Scenario {
    /// Everything at once.
    pub(super) const fn everything(control: Control) -> Self {
        Self {
            control,
            members: &[1, 2, 3, 3, 3, 3, 3, 4, 5],
            spare: 2,
            leases_ms: &[60, 60, 250, 250, 250, 2_000],
            span_ms: (1_000, 6_000),
            formed_percent: 70,
            faults: EVERY_FAULT,
            swarm: true,
            gap_percent: 50,
            stall_ppm: 800,
            kill_ppm: 250,
            stuck_ppm: 1_000,
            membership_percent: 30,
            prompt: false,
        }
    }

    pub(super) fn replays(&self) -> bool {
        self.faults.iter().any(|(fault, _)| *fault == Fault::Replay)
    }
}
