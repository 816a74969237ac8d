//! Values of one measured thing and what is said of them. Pure.

use serde::{Deserialize, Serialize};

/// One or more values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The middle one, or what lies between the two in the middle.
    pub median: f64,
    /// The greatest: of everything measured here that is the worst.
    pub worst: f64,
    /// In the order in which they were measured.
    pub values: Vec<f64>,
}

impl Series {
    /// None without a value.
    pub fn new(values: Vec<f64>) -> Option<Self> {
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let worst = *sorted.last()?;
        let upper = sorted[sorted.len() / 2];
        let lower = sorted[(sorted.len() - 1) / 2];
        Some(Self {
            median: f64::midpoint(lower, upper),
            worst,
            values,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_value_or_between_the_two_in_the_middle() {
        let close = |left: f64, right: f64| (left - right).abs() < 1e-9;
        let odd = Series::new(vec![9.0, 1.0, 4.0]).unwrap();
        assert!(close(odd.median, 4.0) && close(odd.worst, 9.0));
        let even = Series::new(vec![9.0, 1.0, 4.0, 2.0]).unwrap();
        assert!(close(even.median, 3.0));
        assert_eq!(Series::new(vec![]), None);
    }
}
