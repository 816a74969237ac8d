//! How often values of each length in bits came.

use std::marker::PhantomData;

use crate::percentiles::PercentileStats;

/// Zero, and one for each place that the highest bit of a value may have.
const BUCKETS: usize = 1 + u64::BITS as usize;

/// Counts of values. What openraft could add to each is of no use to it, nor kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: [u64; BUCKETS],
    of: PhantomData<T>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Histogram<T> {
    /// Of no value yet.
    pub fn new() -> Self {
        Self {
            counts: [0; BUCKETS],
            of: PhantomData,
        }
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value that came `times`.
    pub fn record_n(&mut self, value: u64, times: u64) {
        // As many as there are bits, so that the index is always one of an array's.
        let length = (u64::BITS - value.leading_zeros()) as usize;
        let count = &mut self.counts[length];
        *count = count.saturating_add(times);
    }

    /// How many values were counted.
    pub fn total(&self) -> u64 {
        self.counts
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The usual percentiles.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.per_mille(1),
            p1: self.per_mille(10),
            p5: self.per_mille(50),
            p10: self.per_mille(100),
            p50: self.per_mille(500),
            p90: self.per_mille(900),
            p99: self.per_mille(990),
            p99_9: self.per_mille(999),
        }
    }

    /// The least value of the bucket in which that share of all values is reached; 0 if there is none.
    fn per_mille(&self, share: u64) -> u64 {
        let wanted = u128::from(self.total()) * u128::from(share);
        let mut below = 0_u128;
        for (length, &count) in self.counts.iter().enumerate() {
            below += u128::from(count) * 1000;
            if count > 0 && below >= wanted {
                return least(length);
            }
        }
        0
    }
}

/// The least value of so many bits.
fn least(length: usize) -> u64 {
    match length {
        0 => 0,
        length => 1 << (length - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_its_value_to_within_a_factor_of_two() {
        let mut histogram: Histogram = Histogram::new();
        for value in 1..=1000 {
            histogram.record(value);
        }
        let stats = histogram.percentile_stats();
        assert_eq!(stats.samples, 1000);
        assert_eq!((stats.p0_1, stats.p10, stats.p50), (1, 64, 256));
        assert_eq!((stats.p90, stats.p99_9), (512, 512));
    }

    #[test]
    fn every_value_has_a_bucket_and_counts_do_not_overflow() {
        let mut histogram: Histogram = Histogram::new();
        assert_eq!(histogram.percentile_stats().p50, 0);
        histogram.record(0);
        histogram.record(u64::MAX);
        assert_eq!(histogram.total(), 2);
        assert_eq!(histogram.percentile_stats().p99, 1 << 63);
        histogram.record_n(7, u64::MAX);
        assert_eq!(histogram.total(), u64::MAX);
        assert_eq!(histogram.percentile_stats().p50, 4);
    }
}
