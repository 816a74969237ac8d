//! How long something took lately, as a histogram of fixed size. It counts, and keeps no single value.

/// Values below this have a bucket each; above, every doubling has [`PARTS`], so that a value is known to an eighth.
const EXACT: u32 = 16;
const PARTS: u32 = 8;

/// Sixteen seconds in microseconds; what is longer counts as that in the buckets.
const LONGEST: u32 = (1 << 24) - 1;
const BUCKETS: usize = 16 + 20 * 8;

/// One window of time.
#[derive(Clone, Copy)]
struct Window {
    counts: [u32; BUCKETS],
    longest: u32,
}

/// The present window and the one before, so that a fresh window never looks as if nothing had happened.
#[derive(Clone, Copy)]
pub(super) struct Distribution {
    present: Window,
    before: Window,
}

impl Window {
    const EMPTY: Self = Self {
        counts: [0; BUCKETS],
        longest: 0,
    };
}

impl Distribution {
    pub(super) const EMPTY: Self = Self {
        present: Window::EMPTY,
        before: Window::EMPTY,
    };

    pub(super) fn add(&mut self, microseconds: u32) {
        let count = &mut self.present.counts[bucket(microseconds)];
        *count = count.saturating_add(1);
        self.present.longest = self.present.longest.max(microseconds);
    }

    /// Begins a new window and forgets the one before the last.
    pub(super) fn turn(&mut self) {
        (self.before, self.present) = (self.present, Window::EMPTY);
    }

    pub(super) fn longest(&self) -> u32 {
        self.present.longest.max(self.before.longest)
    }

    /// The value that so many in a hundred do not exceed; 0 while there is none.
    pub(super) fn percentile(&self, percent: u64) -> u32 {
        let both = || {
            let pairs = self.present.counts.iter().zip(&self.before.counts);
            pairs.map(|(present, before)| u64::from(*present) + u64::from(*before))
        };
        let needed = (both().sum::<u64>() * percent).div_ceil(100);
        if needed == 0 {
            return 0;
        }
        let mut seen = 0;
        for (bucket, count) in both().enumerate() {
            seen += count;
            if seen >= needed {
                return upper_edge(bucket).min(self.longest());
            }
        }
        self.longest()
    }
}

fn bucket(microseconds: u32) -> usize {
    let value = microseconds.min(LONGEST);
    let bucket = if value < EXACT {
        value
    } else {
        // At least 4, since EXACT is 16.
        let doubling = value.ilog2();
        let part = (value >> (doubling - 3)) - PARTS;
        EXACT + (doubling - 4) * PARTS + part
    };
    bucket as usize
}

/// The largest value of a bucket.
fn upper_edge(bucket: usize) -> u32 {
    let bucket = u32::try_from(bucket).unwrap_or(u32::MAX);
    if bucket < EXACT {
        return bucket;
    }
    let (doubling, part) = ((bucket - EXACT) / PARTS + 4, (bucket - EXACT) % PARTS);
    ((PARTS + part + 1) << (doubling - 3)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_that_is_known_to_an_eighth() {
        let mut previous = 0;
        for value in (0..100_000).chain([LONGEST, LONGEST + 1, u32::MAX]) {
            let bucket = bucket(value);
            assert!(bucket < BUCKETS, "{value}");
            assert!(bucket >= previous, "{value}");
            previous = bucket;
            let edge = upper_edge(bucket);
            assert!(edge >= value.min(LONGEST), "{value}: {edge}");
            assert!(edge - value.min(LONGEST) <= value / 8, "{value}: {edge}");
        }
    }

    #[test]
    fn percentiles_and_the_longest_cover_two_windows_and_no_more() {
        let mut taken = Distribution::EMPTY;
        assert_eq!((taken.percentile(99), taken.longest()), (0, 0));
        for _ in 0..99 {
            taken.add(10);
        }
        taken.add(5_000);
        assert_eq!(taken.percentile(50), 10);
        assert_eq!(taken.percentile(99), 10);
        assert_eq!(taken.percentile(100), 5_000);
        taken.turn();
        taken.add(12);
        assert_eq!(taken.longest(), 5_000);
        taken.turn();
        assert_eq!((taken.percentile(50), taken.longest()), (12, 12));
    }
}
