//! The outages as a picture: a dot for every trial on a logarithmic scale, a stroke for the median, and how
//! long two hosts held the address. Pure.

use std::fmt::Write as _;

use crate::contender::Contender;
use crate::row::Row;

const LANE: f64 = 15.0;
const EVENT_GAP: f64 = 13.0;
const TOP: f64 = 96.0;
const BOTTOM: f64 = 46.0;
/// Where the scale begins and ends.
const LEFT: f64 = 390.0;
const RIGHT: f64 = 930.0;
const WIDTH: f64 = 1200.0;

/// Powers of ten of a millisecond at both ends of the scale.
const LEAST_POWER: f64 = 0.0;
const MOST_POWER: f64 = 5.0;

const DOT: f64 = 2.6;

/// The picture of these rows, as SVG.
pub(crate) fn draw(rows: &[Row], machine: &str) -> String {
    let events = group(rows);
    let lanes = rows.len();
    let height = TOP + BOTTOM + length(lanes) * LANE + length(events.len()) * EVENT_GAP;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"11\" fill=\"#222\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"20\" y=\"28\" font-size=\"17\" font-weight=\"600\">The longest time without an answer, \
         by fault and contender</text>\n\
         <text x=\"20\" y=\"47\" fill=\"#666\">one dot for each trial, a stroke for the median; {}</text>\n",
        escape(machine)
    );
    scale(&mut svg, height);
    let mut y = TOP;
    for rows in events {
        y += EVENT_GAP;
        // Writing into a string does not fail.
        let _ = writeln!(
            svg,
            "<line x1=\"20\" x2=\"{}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/>\n\
             <text x=\"20\" y=\"{:.1}\" font-weight=\"600\">{}</text>",
            WIDTH - 20.0,
            y - EVENT_GAP / 2.0,
            y - EVENT_GAP / 2.0,
            y + LANE * 0.75,
            escape(rows[0].event)
        );
        for row in rows {
            lane(&mut svg, row, y + LANE / 2.0);
            y += LANE;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// One contender's dots.
fn lane(svg: &mut String, row: &Row, y: f64) {
    let colour = colour(row.contender);
    // Writing into a string does not fail.
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{colour}\">{}</text>",
        LEFT - 12.0,
        y + 4.0,
        escape(row.contender.name())
    );
    for (number, value) in row.outage_ms.values.iter().enumerate() {
        // Dots of the same value lie beside each other.
        let aside = (length(number % 5) - 2.0) * 1.2;
        let _ = writeln!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{DOT}\" fill=\"{colour}\" fill-opacity=\"0.4\"/>",
            place(*value),
            y + aside
        );
    }
    let median = place(row.outage_ms.median);
    let _ = writeln!(
        svg,
        "<line x1=\"{median:.1}\" x2=\"{median:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-width=\"2.4\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\">{:.0} ({:.0}) ms</text>",
        y - 6.0,
        y + 6.0,
        RIGHT + 36.0,
        y + 4.0,
        row.outage_ms.median,
        row.outage_ms.worst
    );
    let two = &row.two_holders_ms;
    if two.worst > 0.0 {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#c01c28\" font-weight=\"600\">{:.0} ({:.0}) ms</text>",
            RIGHT + 150.0,
            y + 4.0,
            two.median,
            two.worst
        );
    }
}

/// Lines and numbers of the scale, and the heads of the columns.
fn scale(svg: &mut String, height: f64) {
    let words = ["1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s"];
    for (power, word) in words.iter().enumerate() {
        let x = place(10_f64.powf(length(power)));
        // Writing into a string does not fail.
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#eee\"/>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#666\">{word}</text>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#666\">{word}</text>",
            TOP - 6.0,
            height - BOTTOM + 14.0,
            TOP - 12.0,
            height - BOTTOM + 28.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#666\">median (worst)</text>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#c01c28\">two hosts held it</text>",
        RIGHT + 36.0,
        TOP - 12.0,
        RIGHT + 150.0,
        TOP - 12.0
    );
}

/// Rows of the same event, which follow each other.
fn group(rows: &[Row]) -> Vec<&[Row]> {
    rows.chunk_by(|one, other| one.event == other.event)
        .collect()
}

/// Where a number of milliseconds lies; what is beyond the scale lies at its end.
fn place(ms: f64) -> f64 {
    let power = if ms > 0.0 { ms.log10() } else { LEAST_POWER };
    let part = (power - LEAST_POWER) / (MOST_POWER - LEAST_POWER);
    LEFT + part.clamp(0.0, 1.0) * (RIGHT - LEFT)
}

/// Told apart also by those who see no red or no green (after Okabe and Ito).
fn colour(contender: Contender) -> &'static str {
    match contender {
        Contender::KeepalivedUsual => "#8a6d00",
        Contender::KeepalivedFastest => "#d55e00",
        Contender::KeepalivedHaproxy => "#cc79a7",
        Contender::KhactlLan => "#0072b2",
        Contender::KhactlFast => "#009e73",
    }
}

fn length(number: usize) -> f64 {
    // Rows of one picture.
    u32::try_from(number).map_or(0.0, f64::from)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;
    use crate::row::tests::trial;

    #[test]
    fn the_scale_is_logarithmic_and_has_ends() {
        assert!((place(1.0) - LEFT).abs() < 1e-9);
        assert!((place(0.0) - LEFT).abs() < 1e-9);
        assert!((place(1e9) - RIGHT).abs() < 1e-9);
        let step = place(100.0) - place(10.0);
        assert!((place(1000.0) - place(100.0) - step).abs() < 1e-9);
    }

    #[test]
    fn every_trial_has_a_dot_and_only_two_holders_are_red() {
        let trials = [
            trial(Contender::KeepalivedUsual, Fault::SaysNothing, 3.0, 3120.0),
            trial(Contender::KhactlFast, Fault::SaysNothing, 57.0, 0.0),
            trial(Contender::KhactlFast, Fault::SaysNothing, 58.0, 0.0),
        ];
        let svg = draw(&Row::all(&trials), "a machine & more");
        assert_eq!(svg.matches("<circle").count(), 2 * trials.len());
        assert_eq!(svg.matches("3120 (3120) ms").count(), 1);
        assert_eq!(svg.matches("they hear nothing of the holder").count(), 1);
        assert!(svg.contains("a machine &amp; more"));
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }
}
