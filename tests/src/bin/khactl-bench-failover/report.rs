//! All rows, for people as a table and for programs as JSON. Pure.

use std::fmt;

use anyhow::Context;
use khactl_tests::{Machine, Series};
use serde::Serialize;

use crate::row::Row;

const HEADER: [&str; 8] = [
    "EVENT",
    "CONTENDER",
    "N",
    "OUTAGE ms",
    "LOST",
    "TWICE",
    "TWO HOLDERS ms",
    "TARGET",
];

/// Where it was measured, and what.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// With every single value.
    pub(crate) fn json(&self) -> anyhow::Result<String> {
        let mut text = serde_json::to_string(self).context("the figures have no JSON form")?;
        text.push('\n');
        Ok(text)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = vec![HEADER.map(str::to_owned)];
        let mut last = "";
        for row in &self.rows {
            let event = if row.event == last { "" } else { row.event };
            last = row.event;
            lines.push(cells(event, row));
        }
        let mut widths = [0; HEADER.len()];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for line in &lines {
            let mut text = String::new();
            for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
                let cell = match column {
                    // Words to the left, numbers to the right.
                    0 | 1 | 7 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                };
                text.push_str(&cell);
                text.push_str("  ");
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

fn cells(event: &str, row: &Row) -> [String; HEADER.len()] {
    [
        event.to_owned(),
        row.contender.name().to_owned(),
        row.outage_ms.values.len().to_string(),
        shown(&row.outage_ms),
        shown(&row.lost),
        shown(&row.lost_twice),
        if row.two_holders_ms.worst > 0.0 {
            shown(&row.two_holders_ms)
        } else {
            "never".to_owned()
        },
        target(row),
    ]
}

/// `median (worst)`
fn shown(series: &Series) -> String {
    let number = |value: f64| {
        if value > 0.0 && value < 9.95 {
            format!("{value:.1}")
        } else {
            format!("{value:.0}")
        }
    };
    if series.worst <= 0.0 {
        return "0".to_owned();
    }
    format!("{} ({})", number(series.median), number(series.worst))
}

fn target(row: &Row) -> String {
    match (row.target, row.is_met()) {
        (Some(target), Some(met)) => format!(
            "{} ({}){}: {}",
            target.median_ms_max,
            target.worst_ms_max,
            if target.none_twice {
                ", none twice"
            } else {
                ""
            },
            if met { "met" } else { "missed" }
        ),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::Contender;
    use crate::fault::Fault;
    use crate::row::tests::trial;

    fn report() -> Report {
        let trials = [
            trial(Contender::KeepalivedUsual, Fault::SaysNothing, 3.04, 3120.0),
            trial(Contender::KhactlFast, Fault::SaysNothing, 57.84, 0.0),
            trial(Contender::KhactlFast, Fault::SaysNothing, 130.2, 0.0),
        ];
        Report {
            machine: Machine::default(),
            rows: Row::all(&trials),
        }
    }

    #[test]
    fn table_names_each_event_once_and_says_what_was_missed_and_held_twice() {
        let shown = report().to_string();
        let lines: Vec<Vec<&str>> = shown
            .lines()
            .map(|line| {
                line.split("  ")
                    .map(str::trim)
                    .filter(|cell| !cell.is_empty())
                    .collect()
            })
            .collect();
        assert_eq!(lines[0], HEADER);
        assert_eq!(lines[1][0], "while nothing happens");
        assert_eq!(
            lines[3],
            [
                "they hear nothing of the holder",
                "keepalived, usual",
                "1",
                "3.0 (3.0)",
                "30 (30)",
                "0",
                "3120 (3120)"
            ]
        );
        assert_eq!(
            lines[4],
            [
                "khactl, fast",
                "2",
                "94 (130)",
                "30 (30)",
                "0",
                "never",
                "75 (120): missed"
            ]
        );
    }
}
