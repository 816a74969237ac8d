//! All figures, for people as a table and for programs as JSON.

use std::fmt;

use anyhow::Context;
use khactl_tests::{Machine, Series};
use serde::Serialize;

use crate::figure::{Figure, Target, Unit};

const HEADER: [&str; 7] = [
    "WHAT", "KHACTL", "WORST", "BY HAND", "WORST", "RATIO", "TARGET",
];

/// Where it was measured, and what.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            machine,
            figures: Vec::new(),
        }
    }

    /// With every single value.
    pub(crate) fn json(&self) -> anyhow::Result<String> {
        let mut text =
            serde_json::to_string_pretty(self).context("the figures have no JSON form")?;
        text.push('\n');
        Ok(text)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = HEADER.map(str::to_owned);
        let rows: Vec<_> = [header]
            .into_iter()
            .chain(self.figures.iter().map(row))
            .collect();
        let mut widths = [0; HEADER.len()];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in &rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                let cell = match column {
                    // Words to the left, numbers to the right.
                    0 | 6 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                };
                line.push_str(&cell);
                line.push_str("  ");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        write!(
            f,
            "medians over all rounds; by hand: the same programs with the same arguments and ready certificates; another \
             leads: with upstream's own times of leader election; processor time of all components: while khad stands still"
        )
    }
}

fn row(figure: &Figure) -> [String; HEADER.len()] {
    let median = |series: &Option<Series>| shown(figure.unit, series.as_ref().map(|s| s.median));
    let worst = |series: &Option<Series>| shown(figure.unit, series.as_ref().map(|s| s.worst));
    [
        figure.name.clone(),
        median(&figure.khactl),
        worst(&figure.khactl),
        median(&figure.by_hand),
        worst(&figure.by_hand),
        figure
            .ratio
            .map(|ratio| format!("{ratio:.2}"))
            .unwrap_or_default(),
        target(figure),
    ]
}

fn shown(unit: Unit, value: Option<f64>) -> String {
    value.map(|value| unit.show(value)).unwrap_or_default()
}

fn target(figure: &Figure) -> String {
    let meant = match figure.target {
        None => return String::new(),
        Some(Target::RatioMax(max)) => format!("ratio ≤ {max}"),
        Some(Target::ValueMax(max)) => format!("worst ≤ {}", figure.unit.show(max)),
        Some(Target::WithinBeside) => "median ≤ worst beside it".to_owned(),
    };
    match figure.met {
        Some(true) => format!("{meant}: met"),
        Some(false) => format!("{meant}: missed"),
        None => format!("{meant}: not measured"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_a_line_for_every_figure_and_says_what_was_missed() {
        let mut report = Report::new(Machine::default());
        report.figures = vec![
            Figure::new("init: API ready", Unit::Seconds, vec![5.0, 7.0, 6.0])
                .beside(vec![4.0])
                .target(Target::RatioMax(1.25)),
            Figure::new("outage", Unit::Milliseconds, vec![250.0]).target(Target::ValueMax(400.0)),
            Figure::new("never ran", Unit::Count, vec![]).target(Target::ValueMax(1.0)),
        ];
        let shown = report.to_string();
        let lines: Vec<Vec<&str>> = shown
            .lines()
            .map(|line| {
                line.split("  ")
                    .map(str::trim)
                    .filter(|c| !c.is_empty())
                    .collect()
            })
            .collect();
        assert_eq!(lines[0], HEADER);
        assert_eq!(
            lines[1],
            [
                "init: API ready",
                "6.00 s",
                "7.00 s",
                "4.00 s",
                "4.00 s",
                "1.50",
                "ratio ≤ 1.25: missed"
            ]
        );
        assert_eq!(
            lines[2],
            ["outage", "250 ms", "250 ms", "worst ≤ 400 ms: met"]
        );
        assert_eq!(lines[3], ["never ran", "worst ≤ 1: not measured"]);
        assert!(report.json().unwrap().contains("\"ratio_max\": 1.25"));
    }
}
