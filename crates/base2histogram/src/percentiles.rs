//! Some percentiles of a histogram.

use std::fmt;

/// The least value of the bucket that each of them lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PercentileStats {
    /// Values that were counted.
    pub samples: u64,
    /// One in a thousand is less.
    pub p0_1: u64,
    /// One in a hundred is less.
    pub p1: u64,
    /// One in twenty is less.
    pub p5: u64,
    /// One in ten is less.
    pub p10: u64,
    /// Half of them are less.
    pub p50: u64,
    /// Nine in ten are less.
    pub p90: u64,
    /// All but one in a hundred are less.
    pub p99: u64,
    /// All but one in a thousand are less.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} values, p50 {}, p90 {}, p99 {}",
            self.samples, self.p50, self.p90, self.p99
        )
    }
}
