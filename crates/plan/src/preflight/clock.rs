//! Whether something keeps the host's clock right, and whether it would bend it more than the lease bears.
//!
//! Tokens, certificates and the joining host's clock (KHA2032) need the time of day. The lease needs only that clocks run
//! at about the same rate: docs/lease.md, RHO.

use khactl_model::preflight::ClockFacts;

use super::{Finding, Level};

const CHECK: &str = "clock";
/// Nothing keeps the clock right.
const UNKEPT: &str = "KHA1123";
/// The clock is slewed, or may be, by more than the lease allows for.
const SLEWED: &str = "KHA1124";

/// Half of the lease's RHO (2 %): two hosts may be slewed against each other.
const SLEW_PPM_MAX: u32 = 10_000;
/// chrony's own limit where none is configured (chrony.conf(5), maxslewrate: 83333.333).
const CHRONY_SLEW_PPM: u32 = 83_333;

/// One finding on who keeps it, and one more if it is bent too much.
pub fn judge(facts: &ClockFacts) -> Vec<Finding> {
    let mut findings = vec![kept(facts)];
    findings.extend(slewed(facts));
    findings
}

fn kept(facts: &ClockFacts) -> Finding {
    let services: Vec<&str> = facts.services.iter().map(String::as_str).collect();
    let services = services.join(", ");
    let unkept =
        |finding: String, cure: &str| Finding::new(Level::Warning, CHECK, UNKEPT, finding, cure);
    match (facts.kernel, services.as_str()) {
        (Some(kernel), by) if kernel.synchronized => {
            let by = if by.is_empty() { "something" } else { by };
            Finding::fine(
                CHECK,
                format!(
                    "{by} keeps it right, to {} ms at the worst",
                    kernel.error_us.div_ceil(1_000)
                ),
            )
        }
        (_, "") => unkept(
            "nothing keeps this host's clock right: hosts whose clocks differ by 2 s cannot join, and certificates may seem not to be valid".to_owned(),
            "install and start chrony or systemd-timesyncd",
        ),
        (Some(_), by) => unkept(
            format!("{by} runs, and the clock is not synchronized"),
            "see whether it reaches its servers: `chronyc sources` or `timedatectl timesync-status`",
        ),
        (None, by) => Finding::fine(
            CHECK,
            format!("{by} runs; the kernel does not say whether it has synchronized the clock"),
        ),
    }
}

fn slewed(facts: &ClockFacts) -> Option<Finding> {
    let now = facts
        .kernel
        .map_or(0, |kernel| kernel.rate_ppm)
        .unsigned_abs();
    if now > u64::from(SLEW_PPM_MAX) {
        return Some(Finding::new(
            Level::Warning,
            CHECK,
            SLEWED,
            format!(
                "the clock is being slewed by {now} ppm, and the lease bears {SLEW_PPM_MAX} on each host: khavip gives the VIP up when it measures too much"
            ),
            "wait until the clock is right; step it before the host serves (`chronyc makestep`)",
        ));
    }
    let limit = match facts.chrony_slew_ppm {
        Some(limit) => limit,
        None if facts.services.contains("chronyd") => CHRONY_SLEW_PPM,
        None => return None,
    };
    (limit > SLEW_PPM_MAX).then(|| {
        Finding::new(
            Level::Warning,
            CHECK,
            SLEWED,
            format!(
                "chrony may slew the clock by {limit} ppm, and the lease bears {SLEW_PPM_MAX} on each host: khavip gives the VIP up when it measures too much"
            ),
            format!("put `maxslewrate {SLEW_PPM_MAX}` into chrony.conf and restart chrony"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::weighed;
    use super::*;
    use khactl_model::preflight::KernelClock;

    fn facts(services: &[&str], synchronized: Option<bool>) -> ClockFacts {
        ClockFacts {
            services: services.iter().map(|s| (*s).to_owned()).collect(),
            kernel: synchronized.map(|synchronized| KernelClock {
                synchronized,
                error_us: 1_200,
                rate_ppm: -12,
            }),
            chrony_slew_ppm: None,
        }
    }

    #[test]
    fn a_synchronized_clock_is_fine_whoever_keeps_it() {
        for services in [&["systemd-timesyncd"][..], &[]] {
            let found = judge(&facts(services, Some(true)));
            assert!(found[0].finding.contains("2 ms"), "{}", found[0].finding);
            assert_eq!(weighed(&found), [(Level::Fine, "")]);
        }
    }

    #[test]
    fn nobody_and_somebody_who_does_not_succeed_are_warned_of() {
        for synchronized in [None, Some(false)] {
            let found = judge(&facts(&[], synchronized));
            assert_eq!(weighed(&found), [(Level::Warning, "KHA1123")]);
        }
        let found = judge(&facts(&["ntpd"], Some(false)));
        assert!(found[0].finding.starts_with("ntpd runs"), "{found:?}");
        assert_eq!(weighed(&found), [(Level::Warning, "KHA1123")]);
    }

    #[test]
    fn a_service_is_believed_where_the_kernel_may_not_be_asked() {
        let found = judge(&facts(&["ntpd"], None));
        assert_eq!(weighed(&found), [(Level::Fine, "")]);
    }

    #[test]
    fn chrony_as_it_comes_slews_more_than_the_lease_bears() {
        let mut chrony = facts(&["chronyd"], Some(true));
        let found = judge(&chrony);
        assert!(found[1].finding.contains("83333 ppm"), "{found:?}");
        assert_eq!(
            weighed(&found),
            [(Level::Fine, ""), (Level::Warning, "KHA1124")]
        );
        for (limit, count) in [(10_000, 1), (10_001, 2)] {
            chrony.chrony_slew_ppm = Some(limit);
            assert_eq!(judge(&chrony).len(), count, "{limit}");
        }
    }

    #[test]
    fn a_clock_that_is_bent_now_is_told_by_its_rate_in_both_directions() {
        for (rate_ppm, count) in [(-10_001, 2), (-10_000, 1), (10_000, 1), (90_000, 2)] {
            let mut bent = facts(&["ntpd"], Some(true));
            bent.kernel = bent.kernel.map(|kernel| KernelClock { rate_ppm, ..kernel });
            assert_eq!(judge(&bent).len(), count, "{rate_ppm}");
        }
    }
}
