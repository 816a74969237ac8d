//! All figures, for people as a table and for programs as JSON. Pure.

use std::fmt;

use anyhow::Context;
use khactl_tests::{Machine, Series};
use serde::Serialize;

use crate::contender::Contender;

/// What a figure is meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// khavip's median over haproxy's is at least this.
    RatioMin(f64),
    /// … is at most this.
    RatioMax(f64),
    /// khavip's median is at most this.
    ValueMax(f64),
}

/// One measured thing.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) target: Option<Target>,
    khavip: Vec<f64>,
    haproxy: Vec<f64>,
}

impl Figure {
    /// All, in the order in which a round measures them.
    pub(crate) fn all() -> Vec<Self> {
        [
            ("requests/s, connections kept", Some(Target::RatioMin(1.0))),
            ("  p99, ms", Some(Target::RatioMax(1.1))),
            ("  processor microseconds of each", None),
            ("requests/s, a connection each", Some(Target::RatioMin(1.0))),
            ("  p99, ms", Some(Target::RatioMax(1.1))),
            ("  processor microseconds of each", None),
            ("MiB/s, long answers", None),
            ("  processor seconds per GiB", Some(Target::RatioMax(1.2))),
            (
                "MiB resident for 10,000 idle ones",
                Some(Target::ValueMax(64.0)),
            ),
        ]
        .map(|(name, target)| Self {
            name,
            target,
            khavip: Vec::new(),
            haproxy: Vec::new(),
        })
        .into()
    }

    pub(crate) fn of(&mut self, contender: Contender) -> &mut Vec<f64> {
        match contender {
            Contender::Khavip => &mut self.khavip,
            Contender::Haproxy => &mut self.haproxy,
        }
    }

    fn medians(&self) -> Option<(f64, f64)> {
        let median = |values: &Vec<f64>| Some(Series::new(values.clone())?.median);
        Some((median(&self.khavip)?, median(&self.haproxy)?))
    }

    fn row(&self) -> [String; 5] {
        let Some((khavip, haproxy)) = self.medians() else {
            return [self.name, "", "", "", "not measured"].map(str::to_owned);
        };
        let ratio = khavip / haproxy;
        let (wanted, met) = match self.target {
            None => (String::new(), true),
            Some(Target::RatioMin(least)) => (format!("≥ {least} x"), ratio >= least),
            Some(Target::RatioMax(most)) => (format!("≤ {most} x"), ratio <= most),
            Some(Target::ValueMax(most)) => (format!("≤ {most}"), khavip <= most),
        };
        let verdict = match (wanted.as_str(), met) {
            ("", _) => String::new(),
            (wanted, true) => format!("{wanted}: met"),
            (wanted, false) => format!("{wanted}: missed"),
        };
        [
            self.name.to_owned(),
            shown(khavip),
            shown(haproxy),
            format!("{ratio:.2} x"),
            verdict,
        ]
    }
}

/// Three digits that mean something.
fn shown(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

/// Where it was measured, and what.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) figures: Vec<Figure>,
}

impl Report {
    /// With every single value.
    pub(crate) fn json(&self) -> anyhow::Result<String> {
        let text = serde_json::to_string_pretty(self).context("the figures have no JSON form")?;
        Ok(text + "\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["WHAT", "KHAVIP", "HAPROXY", "RATIO", "TARGET"].map(str::to_owned);
        for row in [header]
            .into_iter()
            .chain(self.figures.iter().map(Figure::row))
        {
            let [what, khavip, haproxy, ratio, target] = row;
            let line = format!("{what:38} {khavip:>9} {haproxy:>9} {ratio:>8}  {target}");
            writeln!(f, "{}", line.trim_end())?;
        }
        write!(f, "medians over all rounds")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_met_or_missed_by_the_medians() {
        let mut figures = Figure::all();
        for value in [90.0, 110.0, 100.0] {
            figures[0].of(Contender::Khavip).push(value);
            figures[0].of(Contender::Haproxy).push(value - 1.0);
            figures[1].of(Contender::Khavip).push(value);
            figures[1].of(Contender::Haproxy).push(value / 2.0);
        }
        assert_eq!(figures[0].row()[4], "≥ 1 x: met");
        assert_eq!(figures[1].row()[3..], ["2.00 x", "≤ 1.1 x: missed"]);
        assert_eq!(figures[2].row()[4], "not measured");
    }
}
