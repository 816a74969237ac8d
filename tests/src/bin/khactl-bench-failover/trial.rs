//! One fault inflicted on one contender, and what its client had of it. Pure.

use std::collections::BTreeMap;
use std::fmt;

use khactl_lab::measure::{Sample, SampleKind, tally};
use serde::{Deserialize, Serialize};

use crate::contender::Contender;
use crate::fault::Fault;

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Trial {
    pub(crate) contender: Contender,
    pub(crate) fault: Fault,
    /// From 1.
    pub(crate) round: usize,
    /// While nothing happened, before the fault.
    pub(crate) before: Watched,
    /// From the fault until it is undone, or is over by itself.
    pub(crate) during: Watched,
    /// From then until all is as it was.
    pub(crate) after: Watched,
}

/// What was seen from outside between two moments.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Watched {
    /// The longest time between two answers, in milliseconds.
    pub(crate) outage_ms: f64,
    /// Tries that were answered.
    pub(crate) answered: usize,
    /// Tries that were not.
    pub(crate) lost: usize,
    /// Tries that were not, and the next one that began after their failure was not either.
    pub(crate) lost_twice: usize,
    /// For how long two hosts answered for the address, in milliseconds.
    pub(crate) two_holders_ms: f64,
    /// Why most of those that were lost were.
    pub(crate) complaint: String,
}

/// For whoever watches the run.
impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |watched: &Watched| {
            format!(
                "{:.0} ms, {} lost, {} twice, two holders {:.1} ms",
                watched.outage_ms, watched.lost, watched.lost_twice, watched.two_holders_ms
            )
        };
        write!(
            f,
            "{:20} {:34} {}; after: {}  {}",
            self.contender.name(),
            self.fault.name(),
            part(&self.during),
            part(&self.after),
            self.during.complaint
        )
    }
}

impl Watched {
    /// Between two moments in microseconds since boot; `samples` in any order.
    pub(crate) fn between(
        samples: &[Sample],
        from_us: u64,
        to_us: u64,
        two_holders_us: u64,
    ) -> Self {
        let counted = tally(samples, SampleKind::Connect, from_us, to_us);
        Self {
            outage_ms: ms(counted.gap_us),
            answered: counted.ok,
            lost: counted.failed,
            lost_twice: lost_twice(samples, from_us, to_us),
            two_holders_ms: ms(two_holders_us),
            complaint: complaint(samples, from_us, to_us),
        }
    }
}

/// A client that tries again at once after a failure: how many of the failures between two moments
/// would have failed again.
fn lost_twice(samples: &[Sample], from_us: u64, to_us: u64) -> usize {
    let mut begun: Vec<_> = samples.iter().collect();
    begun.sort_by_key(|sample| sample.at_us);
    samples
        .iter()
        .filter(|sample| sample.failed_by(from_us, to_us))
        .filter(|sample| {
            let next = begun.partition_point(|other| other.at_us < sample.done_us());
            begun.get(next).is_some_and(|retry| !retry.ok)
        })
        .count()
}

/// The most frequent failure between two moments.
fn complaint(samples: &[Sample], from_us: u64, to_us: u64) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for sample in samples {
        if sample.failed_by(from_us, to_us) {
            *counts.entry(&sample.error).or_default() += 1;
        }
    }
    counts
        .into_iter()
        .max_by_key(|(_, count)| *count)
        .map(|(error, _)| error.to_owned())
        .unwrap_or_default()
}

fn ms(us: u64) -> f64 {
    std::time::Duration::from_micros(us).as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_us: u64, took_us: u64, ok: bool) -> Sample {
        Sample {
            kind: SampleKind::Connect,
            at_us,
            took_us,
            ok,
            name: String::new(),
            error: String::new(),
        }
    }

    #[test]
    fn a_failure_counts_twice_lost_only_if_the_try_after_it_failed_too() {
        let samples = [
            sample(1_000, 100, true),
            // Refused at once, and the next one is answered.
            sample(3_000, 100, false),
            sample(5_000, 100, true),
            // Waited in vain while others failed, and the next one after its end fails too.
            sample(7_000, 300_000, false),
            sample(307_500, 100, false),
            sample(309_000, 100, true),
        ];
        let watched = Watched::between(&samples, 0, 400_000, 12_000);
        assert_eq!(
            (watched.answered, watched.lost, watched.lost_twice),
            (3, 3, 1)
        );
        assert!((watched.outage_ms - 304.0).abs() < 1e-9);
        assert!((watched.two_holders_ms - 12.0).abs() < 1e-9);
    }
}
