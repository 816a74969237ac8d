//! All rounds of one fault and contender together. Pure.

use khactl_tests::Series;
use serde::Serialize;

use crate::contender::Contender;
use crate::fault::Fault;
use crate::target::Target;
use crate::trial::{Trial, Watched};

/// What a row is called that is about no fault.
const QUIET: &str = "while nothing happens";

/// Which part of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// Before the fault, while nothing happened: of all faults together.
    Before,
    /// From the fault until it is undone.
    During,
    /// From then until all is as it was.
    After,
}

/// A row of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    /// For people.
    pub(crate) event: &'static str,
    /// None before any fault.
    pub(crate) fault: Option<Fault>,
    pub(crate) phase: Phase,
    pub(crate) contender: Contender,
    pub(crate) outage_ms: Series,
    pub(crate) lost: Series,
    pub(crate) lost_twice: Series,
    pub(crate) two_holders_ms: Series,
    pub(crate) target: Option<Target>,
}

impl Row {
    /// Every row that has a value, event by event.
    pub(crate) fn all(trials: &[Trial]) -> Vec<Self> {
        let faults = Fault::ALL.iter().flat_map(|fault| {
            let after = fault
                .name_of_end()
                .map(|name| (Some(*fault), Phase::After, name));
            [Some((Some(*fault), Phase::During, fault.name())), after]
                .into_iter()
                .flatten()
        });
        let events = [(None, Phase::Before, QUIET)].into_iter().chain(faults);
        let mut rows = Vec::new();
        for (fault, phase, event) in events {
            for contender in Contender::ALL {
                let watched: Vec<_> = trials
                    .iter()
                    .filter(|trial| fault.is_none_or(|fault| trial.fault == fault))
                    .filter(|trial| trial.contender == contender)
                    .map(|trial| match phase {
                        Phase::Before => &trial.before,
                        Phase::During => &trial.during,
                        Phase::After => &trial.after,
                    })
                    .collect();
                rows.extend(Self::of(event, fault, phase, contender, &watched));
            }
        }
        rows
    }

    fn of(
        event: &'static str,
        fault: Option<Fault>,
        phase: Phase,
        contender: Contender,
        watched: &[&Watched],
    ) -> Option<Self> {
        let series = |value: fn(&Watched) -> f64| {
            Series::new(watched.iter().map(|one| value(one)).collect())
        };
        Some(Self {
            event,
            fault,
            phase,
            contender,
            outage_ms: series(|one| one.outage_ms)?,
            lost: series(|one| count(one.lost))?,
            lost_twice: series(|one| count(one.lost_twice))?,
            two_holders_ms: series(|one| one.two_holders_ms)?,
            target: fault.and_then(|fault| Target::of(contender, fault, phase)),
        })
    }

    /// Whether it reaches what it is meant to; none where nothing is meant.
    pub(crate) fn is_met(&self) -> Option<bool> {
        let target = self.target?;
        let once = !target.none_twice || self.lost_twice.worst <= 0.0;
        Some(
            target.is_met(self.outage_ms.median, self.outage_ms.worst)
                && once
                && self.two_holders_ms.worst <= 0.0,
        )
    }
}

fn count(number: usize) -> f64 {
    // Tries of some seconds, one every 2 ms: no double is that small.
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn trial(
        contender: Contender,
        fault: Fault,
        outage_ms: f64,
        two_holders_ms: f64,
    ) -> Trial {
        let during = Watched {
            outage_ms,
            lost: 30,
            two_holders_ms,
            ..Watched::default()
        };
        Trial {
            contender,
            fault,
            round: 1,
            before: Watched::default(),
            during,
            after: Watched::default(),
        }
    }

    #[test]
    fn rows_are_ordered_by_event_and_then_by_contender() {
        let trials = [
            trial(Contender::KhactlFast, Fault::HostLost, 58.0, 0.0),
            trial(Contender::KeepalivedUsual, Fault::HostLost, 3008.0, 0.0),
            trial(Contender::KhactlFast, Fault::CutOff, 58.0, 0.0),
        ];
        let rows = Row::all(&trials);
        let shown: Vec<_> = rows
            .iter()
            .map(|row| (row.event, row.contender.word()))
            .collect();
        assert_eq!(
            shown,
            [
                ("while nothing happens", "usual"),
                ("while nothing happens", "fast"),
                ("holder cut off from its peers", "fast"),
                ("after the heal", "fast"),
                ("host lost", "usual"),
                ("host lost", "fast"),
                ("the host returns", "usual"),
                ("the host returns", "fast"),
            ]
        );
    }

    #[test]
    fn whose_own_apiserver_is_killed_is_lost_once_at_the_most() {
        let met = |lost_twice| {
            let fault = Fault::ApiserverKilledLoopback;
            let mut trial = trial(Contender::KhactlLan, fault, 9.0, 0.0);
            trial.during.lost_twice = lost_twice;
            Row::all(&[trial])[1].is_met()
        };
        assert_eq!(met(0), Some(true));
        assert_eq!(met(1), Some(false));
    }

    #[test]
    fn a_row_with_two_holders_reaches_nothing_however_quick_it_is() {
        let met = |two_holders_ms| {
            let trial = trial(Contender::KhactlFast, Fault::CutOff, 50.0, two_holders_ms);
            Row::all(&[trial])[1].is_met()
        };
        assert_eq!(met(0.0), Some(true));
        assert_eq!(met(0.4), Some(false));
        let keepalived = trial(Contender::KeepalivedUsual, Fault::CutOff, 50.0, 0.0);
        assert_eq!(Row::all(&[keepalived])[1].is_met(), None);
    }
}
