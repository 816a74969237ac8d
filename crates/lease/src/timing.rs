//! The times of the lease, in nanoseconds.

/// Nanoseconds in a millisecond.
pub(crate) const MS: u64 = 1_000_000;

/// The longest lease that may be asked for. Part of the wire format: acceptors refuse more (A5), and silences are
/// computed from it, so it is not "the T in use".
pub const T_MAX: u64 = 2_000 * MS;

/// The shortest lease time: below it the timers' own lateness (up to 5 ms under load) eats the margin.
const T_MIN: u64 = 40 * MS;

/// Bound on the relative rate of any two clocks, in percent: each may err by one.
const RHO_PERCENT: u64 = 2;

/// S: silence of an acceptor that starts without its record, and the wait between membership changes.
pub(crate) const SILENCE: u64 = T_MAX + T_MAX * 2 * RHO_PERCENT / 100 + MS;

/// From learning an epoch to fencing it. Liveness only.
pub(crate) const GRACE: u64 = 1_000 * MS;

/// The largest jitter added to a start, so that equals do not meet.
pub(crate) const JITTER: u64 = 200_000;

/// Named lease times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// 60 ms: one switch between the hosts, idle machines.
    Fast,
    /// 250 ms, the default.
    Lan,
    /// 2 s: hosts in several places.
    Wan,
}

impl Profile {
    /// The lease time of this profile in milliseconds.
    pub fn lease_ms(self) -> u32 {
        match self {
            Self::Fast => 60,
            Self::Lan => 250,
            Self::Wan => 2_000,
        }
    }
}

/// A lease time that is out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a lease time of {lease_ms} ms is out of bounds: choose 40 to 2000 ms")]
pub struct TimingError {
    /// The time asked for.
    pub lease_ms: u32,
}

/// The times that follow from the lease time T.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    lease: u64,
}

impl Timing {
    /// Checks the bounds: 40 ms to [`T_MAX`].
    pub fn from_lease_ms(lease_ms: u32) -> Result<Self, TimingError> {
        let lease = u64::from(lease_ms) * MS;
        if (T_MIN..=T_MAX).contains(&lease) {
            Ok(Self { lease })
        } else {
            Err(TimingError { lease_ms })
        }
    }

    /// T, carried in every propose.
    pub fn lease(self) -> u64 {
        self.lease
    }

    /// DELTA: kept back from every deadline, for short queues below the gate.
    pub fn delta(self) -> u64 {
        (3 * MS).min(self.lease / 10)
    }

    /// RENEW: between two proposes of a holder.
    pub fn renew(self) -> u64 {
        self.lease / 5
    }

    /// SLOT: what one place in the ranking waits longer than the one before.
    pub fn slot(round_trip: u64) -> u64 {
        (2 * MS).max(2 * round_trip)
    }

    /// LIM: limit of one phase.
    pub fn limit(self, round_trip: u64) -> u64 {
        (2 * round_trip).max(self.lease / 20).max(3 * MS)
    }

    /// How long a majority's answer to a propose may be relied on, counted from before its sending (P5).
    pub fn earned(lease: u64) -> u64 {
        lease - lease * RHO_PERCENT / 100 - (3 * MS).min(lease / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_within_bounds_and_the_bounds_hold() {
        for profile in [Profile::Fast, Profile::Lan, Profile::Wan] {
            assert!(Timing::from_lease_ms(profile.lease_ms()).is_ok());
        }
        assert!(Timing::from_lease_ms(39).is_err());
        assert!(Timing::from_lease_ms(2_001).is_err());
    }

    #[test]
    fn the_silence_outlasts_the_longest_lease_on_the_slowest_clock() {
        assert_eq!(SILENCE, 2_081 * MS);
        // The acceptor's clock runs 1 % fast, the holder's 1 % slow.
        const { assert!(SILENCE * 99 / 101 > T_MAX) };
    }

    #[test]
    fn a_holder_on_the_slowest_clock_stops_before_an_acceptor_on_the_fastest_forgets() {
        for lease_ms in [40_u32, 60, 250, 2_000] {
            let t = u64::from(lease_ms) * MS;
            assert!(Timing::earned(t) * 101 / 99 <= t, "{lease_ms}");
        }
    }
}
