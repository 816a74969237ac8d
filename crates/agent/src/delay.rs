//! How short a lease this host bears, before it has a khavip that could tell: a thread with the lease thread's priority
//! sleeps many times, and the worst lateness counts. A member's khavip measures all the time, round trips too; before
//! that the hosts that are named are asked for theirs.

use khactl_model::spec::Profile;
use khactl_plan::Delay;
use khactl_proto::v1::{Finding, finding::Level};
use khactl_sys::clock::monotonic;
use khactl_sys::realtime::{Permit, fifo_thread};
use std::time::Duration;

/// The lease thread's priority.
const PRIORITY: i32 = 50;
/// Between two wake-ups.
const SLEEP: Duration = Duration::from_millis(2);
/// Long enough to meet what happens a few times a second, short enough for somebody who waits.
const SLEEPS: u32 = 250;

/// What was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// Of a thread here, or what this host's khavip tells.
    pub delay: Delay,
    /// Why the thread had no real-time priority, if it had none.
    pub refused: Option<String>,
    /// The round trip is known: this host's khavip told it, or a majority of the hosts that were named answered.
    pub answered: bool,
}

/// Measures the lateness of a thread of this host; takes half a second. The round trip to a majority of the other hosts, in
/// microseconds, was measured before, or is not known.
pub async fn measure(round_trip_us: Option<u32>) -> Option<Measured> {
    tokio::task::spawn_blocking(move || {
        // A thread of its own ends with its priority.
        std::thread::spawn(move || sleep_often(round_trip_us))
            .join()
            .ok()
    })
    .await
    .ok()
    .flatten()
}

fn sleep_often(round_trip_us: Option<u32>) -> Measured {
    let refused = match fifo_thread(PRIORITY) {
        Permit::Granted => None,
        Permit::Refused(reason) => Some(reason),
    };
    let mut worst = Duration::ZERO;
    for _ in 0..SLEEPS {
        let before = monotonic();
        std::thread::sleep(SLEEP);
        let late = monotonic().saturating_sub(before).saturating_sub(SLEEP);
        worst = worst.max(late);
    }
    Measured {
        delay: Delay {
            round_trip_us: round_trip_us.unwrap_or_default(),
            lateness_us: u32::try_from(worst.as_micros()).unwrap_or(u32::MAX),
        },
        refused,
        answered: round_trip_us.is_some(),
    }
}

/// What follows for a lease of that many milliseconds; `None`: there is no spec that says one.
pub fn finding(measured: &Measured, lease_ms: Option<u32>) -> Finding {
    let Measured {
        delay,
        refused,
        answered,
    } = measured;
    let bears = delay.profile().map_or("no profile", Profile::name);
    let round_trip = if *answered {
        format!(" and a majority answers within {} us", delay.round_trip_us)
    } else {
        String::new()
    };
    let text = format!(
        "a real-time thread wakes up {} us late at the worst{round_trip}: this host bears {bears}",
        delay.lateness_us
    );
    let short = lease_ms.is_some_and(|lease_ms| !delay.bears(lease_ms));
    let (finding, cure) = match (refused, short) {
        (None, false) => {
            return Finding {
                level: Level::Ok.into(),
                check: "delay".into(),
                finding: text,
                cure: String::new(),
                code: String::new(),
            };
        }
        (Some(reason), _) => (
            format!("no real-time priority for the lease: {reason}; {text}"),
            "give khad CAP_SYS_NICE and its cgroup a real-time budget, or a busy host may lose the VIP",
        ),
        (None, true) => (
            format!(
                "{text}, and the spec's lease is {} ms",
                lease_ms.unwrap_or_default()
            ),
            "find out what delays it, or take a slower profile in spec.vip.profile",
        ),
    };
    Finding {
        level: Level::Warning.into(),
        check: "delay".into(),
        finding,
        cure: cure.into(),
        code: "KHA1191".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(lateness_us: u32, refused: Option<&str>) -> Measured {
        Measured {
            delay: Delay {
                round_trip_us: 300,
                lateness_us,
            },
            refused: refused.map(str::to_owned),
            answered: true,
        }
    }

    #[test]
    fn a_lease_that_is_borne_is_fine_and_one_that_is_not_is_warned_of() {
        let fine = finding(&measured(90, None), Some(60));
        assert_eq!(fine.level(), Level::Ok);
        assert!(fine.finding.ends_with("bears fast"), "{}", fine.finding);
        let short = finding(&measured(40_000, None), Some(60));
        assert_eq!(
            (short.level(), short.code.as_str()),
            (Level::Warning, "KHA1191")
        );
        assert!(short.finding.contains("bears lan"), "{}", short.finding);
        assert_eq!(finding(&measured(40_000, None), None).level(), Level::Ok);
    }

    #[test]
    fn a_refused_priority_is_told_with_its_reason() {
        let told = finding(&measured(90, Some("EPERM")), Some(250));
        assert_eq!(told.level(), Level::Warning);
        assert!(told.finding.contains("EPERM"), "{}", told.finding);
    }

    #[tokio::test]
    async fn every_sleep_is_measured() {
        let measured = measure(None).await.expect("measured");
        assert!(measured.delay.lateness_us > 0 && !measured.answered);
        let measured = measure(Some(90_000)).await.expect("measured");
        let told = finding(&measured, Some(60)).finding;
        assert!(told.contains("answers within 90000 us"), "{told}");
    }
}
