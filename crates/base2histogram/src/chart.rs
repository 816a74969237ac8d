//! Several histograms side by side, for people.

use std::fmt;

use crate::histogram::Histogram;

/// One line for each histogram.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart {
    rows: Vec<(String, Histogram)>,
}

impl AsciiChart {
    /// Of none yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more.
    #[must_use]
    pub fn add(mut self, name: impl Into<String>, histogram: Histogram) -> Self {
        self.rows.push((name.into(), histogram));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, histogram) in &self.rows {
            let stats = histogram.percentile_stats();
            writeln!(f, "{name}: {} {} {}", stats.p10, stats.p50, stats.p90)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_histogram_has_a_line() {
        let mut histogram = Histogram::new();
        histogram.record_n(8, 3);
        let chart = AsciiChart::new().add("applied", histogram);
        assert_eq!(chart.to_string(), "applied: 8 8 8\n");
    }
}
