//! The time that a log line begins with, in the forms that components use: etcd's JSON and
//! Kubernetes' klog header.

use std::time::{Duration, SystemTime};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// A clock that goes a little ahead of ours is no reason to take a line for a year old.
const AHEAD_MAX: Duration = Duration::from_hours(24);

/// The time of `line`; `None` if it has none. `now` gives the year, which klog leaves out.
pub(crate) fn of_line(line: &str, now: SystemTime) -> Option<SystemTime> {
    of_json(line).or_else(|| of_klog(line, now, &TimeZone::system()))
}

/// `{"level":"info","ts":"2026-11-23T06:00:00.000Z",…}`
fn of_json(line: &str) -> Option<SystemTime> {
    let (_, rest) = line.strip_prefix('{')?.split_once("\"ts\":\"")?;
    let (text, _) = rest.split_once('"')?;
    Some(text.parse::<Timestamp>().ok()?.into())
}

/// `I1123 06:00:00.123456    4242 server.go:100] …`, in the local time zone.
fn of_klog(line: &str, now: SystemTime, zone: &TimeZone) -> Option<SystemTime> {
    let rest = line.strip_prefix(['I', 'W', 'E', 'F'])?;
    let (month, day, time) = (rest.get(..2)?, rest.get(2..4)?, rest.get(5..20)?);
    let year = Timestamp::try_from(now).ok()?.to_zoned(zone.clone()).year();
    let at: DateTime = format!("{year}-{month}-{day}T{time}").parse().ok()?;
    let found = at.to_zoned(zone.clone()).ok()?;
    // A December line read in January.
    if SystemTime::from(found.timestamp()) > now + AHEAD_MAX {
        return Some(found.checked_sub(1.year()).ok()?.timestamp().into());
    }
    Some(found.timestamp().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SystemTime {
        text.parse::<Timestamp>().unwrap().into()
    }

    #[test]
    fn times_of_etcd_and_kubernetes_are_read() {
        let now = at("2026-11-23T07:00:00Z");
        let json = r#"{"level":"info","ts":"2026-11-23T06:00:00.5Z","caller":"x","msg":"y"}"#;
        assert_eq!(of_line(json, now), Some(at("2026-11-23T06:00:00.5Z")));
        let klog = "I1123 06:00:00.500000    4242 server.go:1] started";
        assert_eq!(
            of_klog(klog, now, &TimeZone::UTC),
            Some(at("2026-11-23T06:00:00.5Z"))
        );
    }

    #[test]
    fn a_december_line_read_in_january_is_of_last_year() {
        let klog = "W1231 23:59:59.000000       1 a.go:1] late";
        let found = of_klog(klog, at("2027-01-01T00:00:01Z"), &TimeZone::UTC);
        assert_eq!(found, Some(at("2026-12-31T23:59:59Z")));
    }

    #[test]
    fn lines_without_a_time_have_none() {
        for line in [
            "",
            "  at main.go:12",
            "I",
            "Info: x",
            "I9999 99:99:99.999999 1 x] y",
            "{\"ts\":3}",
            "Iäöü 00",
        ] {
            assert_eq!(of_line(line, at("2026-11-23T07:00:00Z")), None, "{line}");
        }
    }
}
