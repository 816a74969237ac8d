//! What was seen of one fault.

use std::time::Duration;

use super::fault::Fault;

/// One fault, from before it happened until all was well again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The fault.
    pub fault: Fault,
    /// Until it was mended.
    pub during: Seen,
    /// From then on.
    pub after: Seen,
    /// Of another voter that died too; none where none did.
    pub voter_in_time: Option<VoterInTime>,
    /// Where two hosts answered for the VIP at once, in words.
    pub overlaps: Vec<String>,
}

/// What client and oracle saw between two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// The longest time between two answers.
    pub outage: Duration,
    /// How many tries were not answered.
    pub lost: usize,
    /// For how long two hosts answered for the VIP.
    pub two_holders: Duration,
}

/// How far a voter that died was back while the lease of the host that was struck still ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoterInTime {
    /// Its new khavip answered at its socket.
    pub answered: bool,
    /// It took part in the lease.
    pub took_part: bool,
}
