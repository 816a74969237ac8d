//! How short a lease a host bears, by what its khavip measures. It advises; the spec decides.
//!
//! A holder renews every fifth of the lease time T and must have a majority's answer before the deadline that the
//! last answer earned it. So what is left between the two must hold a round trip and a thread that wakes up late, and
//! twice as much for what was not seen yet.

use khactl_model::facts::{VipFact, VipMeasured};
use khactl_model::spec::Profile;

/// What a host measured, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delay {
    /// The worst round trip to as many of the quickest members as make a majority with the host itself.
    pub round_trip_us: u32,
    /// How late a thread woke up at the worst.
    pub lateness_us: u32,
}

impl Delay {
    /// As khavip tells it; `None` while it has heard of too few members, or does not run a lease.
    pub fn of(vip: &VipFact) -> Option<Self> {
        let VipMeasured {
            lateness_us_max,
            peers,
            ..
        } = &vip.measured;
        let answered = peers.iter().map(|peer| peer.rtt_us_max);
        let round_trip_us = majority_round_trip(peers.len(), answered.filter(|us| *us > 0))?;
        let measured = peers.is_empty() || round_trip_us > 0 || *lateness_us_max > 0;
        measured.then_some(Self {
            round_trip_us,
            lateness_us: *lateness_us_max,
        })
    }

    /// Whether a lease of that many milliseconds is borne.
    pub fn bears(self, lease_ms: u32) -> bool {
        let needed_us = 2 * (u64::from(self.round_trip_us) + u64::from(self.lateness_us));
        needed_us <= spare_us(lease_ms)
    }

    /// The quickest profile that is borne; `None`: not even the slowest.
    pub fn profile(self) -> Option<Profile> {
        [Profile::Fast, Profile::Lan, Profile::Wan]
            .into_iter()
            .find(|profile| self.bears(profile.lease_ms()))
    }
}

/// The round trip to as many of the quickest as make a majority with the host itself, of so many others and what those
/// that answered took; `None`: too few answered.
pub fn majority_round_trip(others: usize, answered_us: impl Iterator<Item = u32>) -> Option<u32> {
    let mut round_trips: Vec<u32> = answered_us.collect();
    round_trips.sort_unstable();
    // With the host itself: one of two or three, two of four or five.
    match others.div_ceil(2) {
        0 => Some(0),
        needed => round_trips.get(needed - 1).copied(),
    }
}

/// From a renewal to the deadline (docs/lease.md: RHO 2 %, DELTA min(3 ms, T/10), RENEW T/5).
fn spare_us(lease_ms: u32) -> u64 {
    let whole = u64::from(lease_ms) * 1_000;
    let earned = whole - whole * 2 / 100 - 3_000.min(whole / 10);
    earned - whole / 5
}

#[cfg(test)]
mod tests {
    use super::*;
    use khactl_model::facts::VipPeerFact;

    fn delay(round_trip_us: u32, lateness_us: u32) -> Delay {
        Delay {
            round_trip_us,
            lateness_us,
        }
    }

    fn vip(round_trips_us: &[u32], lateness_us_max: u32) -> VipFact {
        let peers = (2..)
            .zip(round_trips_us)
            .map(|(host_id, us)| VipPeerFact {
                host_id,
                rtt_us_p50: us / 2,
                rtt_us_max: *us,
                silent_ms: 1,
            })
            .collect();
        VipFact {
            measured: VipMeasured {
                lateness_us_p99: lateness_us_max / 2,
                lateness_us_max,
                peers,
            },
            ..VipFact::default()
        }
    }

    #[test]
    fn one_switch_bears_fast_a_busy_host_lan_and_a_continent_wan() {
        assert_eq!(delay(300, 5_200).profile(), Some(Profile::Fast));
        assert_eq!(delay(300, 40_000).profile(), Some(Profile::Lan));
        assert_eq!(delay(120_000, 5_000).profile(), Some(Profile::Wan));
        assert_eq!(delay(900_000, 0).profile(), None);
    }

    #[test]
    fn the_limits_are_half_of_what_is_left_between_a_renewal_and_the_deadline() {
        for (lease_ms, limit_us) in [(60, 21_900), (250, 96_000), (2_000, 778_500), (40, 14_100)] {
            assert!(delay(limit_us, 0).bears(lease_ms), "{lease_ms}");
            assert!(delay(0, limit_us).bears(lease_ms), "{lease_ms}");
            assert!(!delay(limit_us, 1).bears(lease_ms), "{lease_ms}");
        }
    }

    #[test]
    fn a_far_member_counts_only_where_a_majority_needs_it() {
        let of = |us: &[u32]| Delay::of(&vip(us, 7)).map(|delay| delay.round_trip_us);
        assert_eq!(of(&[]), Some(0));
        assert_eq!(of(&[300]), Some(300));
        assert_eq!(of(&[90_000, 300]), Some(300));
        assert_eq!(of(&[90_000, 300, 400]), Some(400));
        assert_eq!(of(&[90_000, 300, 400, 80_000]), Some(400));
        // One that never answered cannot be counted on.
        assert_eq!(of(&[0, 300]), Some(300));
        assert_eq!(of(&[0]), None);
    }
}
