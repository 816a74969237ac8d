//! Measured round trips, for SLOT and LIM. They shape liveness alone; safety does not depend on them.

use crate::timing::MS;
use crate::{Configuration, MEMBERS_MAX};

/// A slower answer than this was a stall, not a path.
const CAP: u64 = 400 * MS;

/// Per peer the recent peak, which falls by an eighth with every quicker answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct RoundTrips {
    peaks: [(u64, u64); MEMBERS_MAX],
}

impl RoundTrips {
    pub(crate) fn measured(&mut self, host: u64, nanoseconds: u64) {
        let sample = nanoseconds.min(CAP);
        let Some(place) = self
            .peaks
            .iter()
            .position(|(id, _)| *id == host || *id == 0)
        else {
            return;
        };
        let peak = &mut self.peaks[place];
        let quicker = peak
            .1
            .saturating_sub((peak.1.saturating_sub(sample)).div_ceil(8));
        *peak = (host, sample.max(quicker));
    }

    /// Forgets hosts that have left.
    pub(crate) fn keep(&mut self, configuration: &Configuration) {
        let mut kept = Self::default();
        for (id, peak) in self
            .peaks
            .iter()
            .filter(|(id, _)| configuration.place(*id).is_some())
        {
            kept.measured(*id, *peak);
        }
        *self = kept;
    }

    /// The round trip within which the nearest majority answers; 0 while unknown.
    pub(crate) fn to_majority(&self, host: u64, configuration: &Configuration) -> u64 {
        let mut peaks = [u64::MAX; MEMBERS_MAX];
        let mut count = 0;
        for (id, peak) in self
            .peaks
            .iter()
            .filter(|(id, _)| *id != host && configuration.place(*id).is_some())
        {
            if *id != 0 {
                peaks[count] = *peak;
                count += 1;
            }
        }
        peaks[..count].sort_unstable();
        let needed = configuration.majority() - 1;
        if needed == 0 || count == 0 {
            0
        } else {
            peaks[needed.min(count) - 1]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Member;

    #[test]
    fn the_estimate_is_the_nearest_majority_and_follows_a_path_that_gets_quicker() {
        let members = [1, 2, 3, 4, 5].map(|id| Member {
            id,
            preference: 0,
            proposer: true,
        });
        let configuration = Configuration::new(1, &members).expect("valid");
        let mut trips = RoundTrips::default();
        assert_eq!(trips.to_majority(1, &configuration), 0);
        for (host, ms) in [(2, 1), (3, 9), (4, 5), (5, 200)] {
            trips.measured(host, ms * MS);
        }
        assert_eq!(trips.to_majority(1, &configuration), 5 * MS);
        for _ in 0..200 {
            trips.measured(4, MS);
        }
        assert_eq!(trips.to_majority(1, &configuration), MS);
    }
}
