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
