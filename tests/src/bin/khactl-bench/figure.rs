//! One measured thing: its values over all rounds, those of the same by hand where there is such
//! a thing, and what it is meant to be. Pure.

use khactl_tests::Series;
use serde::Serialize;

/// What the values are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Milliseconds,
    /// 2^20 bytes.
    #[serde(rename = "MiB")]
    Mebibytes,
    /// Hundredths of one core.
    #[serde(rename = "% of a core")]
    PercentOfCore,
    /// A number of things.
    #[serde(rename = "")]
    Count,
}

impl Unit {
    /// A value with as many digits as mean something.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Seconds => format!("{value:.2} s"),
            Self::Milliseconds => format!("{value:.0} ms"),
            Self::Mebibytes => format!("{value:.1} MiB"),
            Self::PercentOfCore => format!("{value:.2} %"),
            Self::Count => format!("{value:.0}"),
        }
    }
}

/// What a figure is meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// The median is at most so many times that by hand.
    RatioMax(f64),
    /// The worst value is at most this.
    ValueMax(f64),
    /// The median is no more than the worst beside it: what there is more of cannot be told from chance.
    WithinBeside,
}

/// A row of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) khactl: Option<Series>,
    pub(crate) by_hand: Option<Series>,
    /// khactl's median over that by hand.
    pub(crate) ratio: Option<f64>,
    pub(crate) target: Option<Target>,
    pub(crate) met: Option<bool>,
}

impl Figure {
    pub(crate) fn new(name: &str, unit: Unit, khactl: Vec<f64>) -> Self {
        Self {
            name: name.to_owned(),
            unit,
            khactl: Series::new(khactl),
            by_hand: None,
            ratio: None,
            target: None,
            met: None,
        }
    }

    /// With the same by hand.
    pub(crate) fn beside(mut self, by_hand: Vec<f64>) -> Self {
        self.by_hand = Series::new(by_hand);
        self.ratio = match (&self.khactl, &self.by_hand) {
            (Some(khactl), Some(by_hand)) if by_hand.median > 0.0 => {
                Some(khactl.median / by_hand.median)
            }
            _ => None,
        };
        self
    }

    /// With what it is meant to be; after [`Figure::beside`].
    pub(crate) fn target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self.met = match target {
            Target::RatioMax(max) => self.ratio.map(|ratio| ratio <= max),
            Target::ValueMax(max) => self.khactl.as_ref().map(|series| series.worst <= max),
            Target::WithinBeside => {
                let both = self.khactl.as_ref().zip(self.by_hand.as_ref());
                both.map(|(khactl, beside)| khactl.median <= beside.worst)
            }
        };
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_judged_by_medians_and_a_value_by_the_worst() {
        let figure = |khactl| Figure::new("x", Unit::Seconds, khactl);
        let ratio = |khactl| {
            figure(khactl)
                .beside(vec![4.0, 4.0, 100.0])
                .target(Target::RatioMax(1.25))
        };
        assert_eq!(ratio(vec![5.0, 5.0, 90.0]).met, Some(true));
        assert_eq!(ratio(vec![5.1, 5.1, 5.1]).met, Some(false));
        let value = |khactl| figure(khactl).target(Target::ValueMax(400.0));
        assert_eq!(value(vec![200.0, 400.0]).met, Some(true));
        assert_eq!(value(vec![200.0, 401.0]).met, Some(false));
        assert_eq!(value(vec![]).met, None);
    }
}
