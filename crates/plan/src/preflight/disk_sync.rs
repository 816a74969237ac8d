//! Whether the disk takes writes as quickly as etcd and the agents' log need them.

use khactl_model::preflight::SyncFacts;

use super::{Finding, Level};

const CHECK: &str = "fsync";
/// Writes take long.
const SLOW: &str = "KHA1125";
/// The data folder lies in memory.
const VOLATILE: &str = "KHA1126";

/// What etcd's own guide asks of a disk: ninety-nine of a hundred syncs of its log within 10 ms.
const P99_US_MAX: u64 = 10_000;

/// What follows from the measurement.
pub fn judge(facts: &SyncFacts) -> Finding {
    let figures = format!(
        "half of {} synchronous writes to {} took {} at the most, 99 of 100 {}, the slowest {}",
        facts.writes,
        facts.folder,
        milliseconds(facts.p50_us),
        milliseconds(facts.p99_us),
        milliseconds(facts.max_us)
    );
    if facts.volatile {
        return Finding::new(
            Level::Warning,
            CHECK,
            VOLATILE,
            format!(
                "{} lies in memory (tmpfs): after a power cut this host has no data any more",
                facts.folder
            ),
            "move --data-dir to a disk",
        );
    }
    if facts.p99_us <= P99_US_MAX {
        return Finding::fine(CHECK, figures);
    }
    Finding::new(
        Level::Warning,
        CHECK,
        SLOW,
        format!(
            "{figures}; etcd wants 99 of 100 within {}: every change waits for it, and a slow disk costs leaders",
            milliseconds(P99_US_MAX)
        ),
        "give the data folder a disk of its own, an SSD; see what else writes there (`iostat -x 1`), and measure again",
    )
}

fn milliseconds(us: u64) -> String {
    format!("{}.{} ms", us / 1_000, us % 1_000 / 100)
}

#[cfg(test)]
mod tests {
    use super::super::weighed;
    use super::*;

    fn measured(p99_us: u64) -> SyncFacts {
        SyncFacts {
            folder: "/var/lib/khactl".to_owned(),
            volatile: false,
            writes: 200,
            p50_us: 850,
            p99_us,
            max_us: 31_000,
        }
    }

    #[test]
    fn the_limit_is_etcds_and_the_figures_are_told_on_both_sides_of_it() {
        for (p99_us, expected) in [
            (10_000, (Level::Fine, "")),
            (10_001, (Level::Warning, "KHA1125")),
        ] {
            let found = judge(&measured(p99_us));
            for figure in ["200", "0.8 ms", "10.0 ms", "31.0 ms"] {
                assert!(found.finding.contains(figure), "{figure}: {found:?}");
            }
            assert_eq!(weighed(&[found]), [expected]);
        }
    }

    #[test]
    fn a_folder_in_memory_is_quick_and_warned_of() {
        let found = judge(&SyncFacts {
            volatile: true,
            ..measured(3)
        });
        assert_eq!(weighed(&[found]), [(Level::Warning, "KHA1126")]);
    }
}
