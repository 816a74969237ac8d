//! A ballot: one attempt of one process to hold the lease. Never reused.

/// Orders attempts. Compared by round, then host, then incarnation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// One more than the highest round its host had ever seen (P3). Round 0 is "no ballot".
    pub round: u64,
    /// The proposing host.
    pub host: u64,
    /// Random per start of the proposing process (P10).
    pub incarnation: u64,
}

impl Ballot {
    /// Lower than every real ballot.
    pub const NONE: Self = Self {
        round: 0,
        host: 0,
        incarnation: 0,
    };

    /// True unless this is [`Ballot::NONE`].
    pub fn is_some(self) -> bool {
        self.round > 0
    }
}

impl std::fmt::Display for Ballot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:x}.{:x}", self.round, self.host, self.incarnation)
    }
}
