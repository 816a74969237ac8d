//! The arguments that matter to leader election, out of those that a controller-manager has. Pure.

use std::time::Duration;

use anyhow::Context;

/// Of the election; upstream's own where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) lease: Duration,
    pub(crate) renew_deadline: Duration,
    pub(crate) retry: Duration,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) kubeconfig: String,
    pub(crate) times: Times,
}

impl Flags {
    /// All others are passed over.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> anyhow::Result<Self> {
        let mut kubeconfig = None;
        let mut times = Times {
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        };
        for argument in arguments {
            let Some((name, value)) = argument.split_once('=') else {
                continue;
            };
            let time = || duration(value).with_context(|| format!("{argument} is no time"));
            match name.trim_start_matches('-') {
                "kubeconfig" => kubeconfig = Some(value.to_owned()),
                "leader-elect-lease-duration" => times.lease = time()?,
                "leader-elect-renew-deadline" => times.renew_deadline = time()?,
                "leader-elect-retry-period" => times.retry = time()?,
                _ => {}
            }
        }
        Ok(Self {
            kubeconfig: kubeconfig.context("there is no --kubeconfig=FILE")?,
            times,
        })
    }
}

/// As Go writes them: `1m30s`, `1.5s`, `500ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut whole = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        whole += Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        rest = after;
    }
    (!text.is_empty()).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_writes_them() {
        assert_eq!(duration("1m0s"), Some(Duration::from_mins(1)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        for wrong in ["", "s", "5", "5 s", "5d"] {
            assert_eq!(duration(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn what_concerns_no_election_is_passed_over_and_what_is_missing_is_upstreams() {
        let parse = |line: &str| Flags::parse(line.split(' ').map(str::to_owned));
        let flags = parse("--port=0 --kubeconfig=/k --leader-elect-retry-period=1s --x").unwrap();
        assert_eq!(flags.kubeconfig, "/k");
        assert_eq!(flags.times.retry, Duration::from_secs(1));
        assert_eq!(flags.times.lease, Duration::from_secs(15));
        assert_eq!(flags.times.renew_deadline, Duration::from_secs(10));
        assert!(parse("--port=0").is_err());
        assert!(parse("--kubeconfig=/k --leader-elect-retry-period=1").is_err());
    }
}
