//! The silence after a start.
//!
//! A voter promises its leader not to help elect another one for the length of a lease.
//! openraft keeps that promise in memory only, so a restarted voter has forgotten it: for one
//! full lease after every start it neither grants a vote or pre-vote nor campaigns, nor takes
//! leadership over.

use std::time::Duration;

/// Until when this member keeps quiet. Pure: the time since boot is an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Silence {
    until: Duration,
}

impl Silence {
    /// Silence for one lease from `now`; none when this member is its group's only voter.
    ///
    /// A sole voter can have promised nothing to anyone but itself: no other member can lead
    /// without its vote, and its own leadership ended with the process.
    pub(crate) fn new(now: Duration, lease: Duration, sole_voter: bool) -> Self {
        let until = if sole_voter {
            now
        } else {
            now.saturating_add(lease)
        };
        Self { until }
    }

    /// What is left of it, or `None` when it is over.
    pub(crate) fn remaining(self, now: Duration) -> Option<Duration> {
        self.until.checked_sub(now).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(1);
    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn a_started_voter_is_silent_for_exactly_one_lease() {
        let silence = Silence::new(NOW, LEASE, false);
        assert_eq!(silence.remaining(NOW), Some(LEASE));
        let just_before = NOW + Duration::from_nanos(999_999_999);
        assert_eq!(
            silence.remaining(just_before),
            Some(Duration::from_nanos(1))
        );
        assert_eq!(silence.remaining(NOW + LEASE), None);
        assert_eq!(silence.remaining(NOW + LEASE * 2), None);
    }

    #[test]
    fn a_sole_voter_is_not_silent() {
        assert_eq!(Silence::new(NOW, LEASE, true).remaining(NOW), None);
    }
}
