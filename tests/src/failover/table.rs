//! Trials as a table for people. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use super::fault::Fault;
use super::trial::{Seen, Trial};
use crate::series::Series;

/// One line per fault: outages in milliseconds, tries lost, and time with two holders.
pub fn table(trials: &[Trial]) -> String {
    let mut text = format!(
        "{:28} {:>3}  {:>9} {:>9} {:>6}  {:>9} {:>9} {:>6}  {:>5}\n",
        "fault", "n", "outage", "worst", "lost", "mended", "worst", "lost", "two"
    );
    for fault in Fault::ALL {
        let of: Vec<_> = trials.iter().filter(|trial| trial.fault == fault).collect();
        if of.is_empty() {
            continue;
        }
        let (during, after): (Vec<_>, Vec<_>) =
            of.iter().map(|trial| (trial.during, trial.after)).unzip();
        let two: Duration = during
            .iter()
            .chain(&after)
            .map(|seen| seen.two_holders)
            .sum();
        // Writing into a string does not fail.
        let _ = writeln!(
            text,
            "{:28} {:>3}  {}  {}  {:>5.1}",
            fault.name(),
            of.len(),
            part(&during),
            part(&after),
            ms(two)
        );
    }
    text
}

fn part(seen: &[Seen]) -> String {
    let outages = seen.iter().map(|seen| ms(seen.outage)).collect();
    let lost: usize = seen.iter().map(|seen| seen.lost).sum();
    let (median, worst) =
        Series::new(outages).map_or((0.0, 0.0), |series| (series.median, series.worst));
    format!("{median:>9.1} {worst:>9.1} {lost:>6}")
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_that_was_tried_has_one_line_with_the_middle_and_the_worst() {
        let trial = |outage_ms| Trial {
            fault: Fault::CutOff,
            during: Seen {
                outage: Duration::from_millis(outage_ms),
                lost: 2,
                two_holders: Duration::ZERO,
            },
            after: Seen::default(),
            voter_in_time: None,
            overlaps: Vec::new(),
        };
        let text = table(&[trial(240), trial(300), trial(200)]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>().join(" "),
            "cut off from its peers 3 240.0 300.0 6 0.0 0.0 0 0.0"
        );
    }
}
