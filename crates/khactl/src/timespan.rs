//! Spans of time as people write them.

use std::time::Duration;

/// Reads "90s", "5m", "1h30m".
///
/// # Errors
/// Says what is accepted.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|span| Duration::try_from(span).ok())
        .filter(|span| *span >= Duration::from_millis(1))
        .ok_or_else(|| "write it like 90s, 5m or 1h30m".into())
}

/// "300 ms", "45 s", "3 min", "2 h 5 min", "4 d": two units at the most.
pub(crate) fn show(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if seconds == 0 => format!("{} ms", span.as_millis()),
        () if minutes == 0 => format!("{seconds} s"),
        () if hours == 0 => format!("{minutes} min"),
        () if hours < 48 => match minutes % 60 {
            0 => format!("{hours} h"),
            rest => format!("{hours} h {rest} min"),
        },
        () => format!("{days} d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(parse("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("5m"), Ok(Duration::from_mins(5)));
        assert_eq!(parse("1h30m"), Ok(Duration::from_mins(90)));
        for bad in ["", "5", "-5m", "0s", "soon"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_shown_in_two_units_at_the_most() {
        let shown = |seconds| show(Duration::from_secs(seconds));
        assert_eq!(show(Duration::from_millis(300)), "300 ms");
        assert_eq!(shown(45), "45 s");
        assert_eq!(shown(185), "3 min");
        assert_eq!(shown(3600), "1 h");
        assert_eq!(shown(7500), "2 h 5 min");
        assert_eq!(shown(400_000), "4 d");
    }
}
