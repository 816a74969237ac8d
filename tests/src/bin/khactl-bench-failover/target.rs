//! What khactl is meant to reach, as median and worst case, and where a second try must not be lost. Pure.

use serde::Serialize;

use crate::contender::Contender;
use crate::fault::Fault;
use crate::row::Phase;

/// Limits in milliseconds, and of tries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Target {
    pub(crate) median_ms_max: f64,
    pub(crate) worst_ms_max: f64,
    /// Who is lost and tries again at once is answered.
    pub(crate) none_twice: bool,
}

impl Target {
    /// None where nothing was promised. Nobody promises anything for keepalived.
    pub(crate) fn of(contender: Contender, fault: Fault, phase: Phase) -> Option<Self> {
        let limits = |median_ms_max, worst_ms_max| {
            Some(Self {
                median_ms_max,
                worst_ms_max,
                none_twice: false,
            })
        };
        if !contender.is_khactl() {
            return None;
        }
        match (phase, fault) {
            (Phase::After, Fault::CutOff) => limits(20.0, 20.0),
            (Phase::Before | Phase::After, _)
            | (Phase::During, Fault::AddressDeleted | Fault::ApiserverHung) => None,
            (Phase::During, Fault::KhadKilled) => limits(5.0, 5.0),
            (Phase::During, Fault::KhavipKilled) => limits(30.0, 60.0),
            (Phase::During, Fault::ApiserverKilled | Fault::ApiserverKilledLoopback) => {
                // By loopback all clients have the one that dies; by the VIP one of three.
                let median_ms_max = if fault == Fault::ApiserverKilled {
                    10.0
                } else {
                    20.0
                };
                limits(median_ms_max, 20.0).map(|target| Self {
                    none_twice: true,
                    ..target
                })
            }
            (Phase::During, Fault::OrderlyStop | Fault::Transfer) => limits(10.0, 20.0),
            (Phase::During, _) if contender == Contender::KhactlFast => limits(75.0, 120.0),
            (Phase::During, _) => limits(260.0, 320.0),
        }
    }

    /// Whether these are within it.
    pub(crate) fn is_met(self, median_ms: f64, worst_ms: f64) -> bool {
        median_ms <= self.median_ms_max && worst_ms <= self.worst_ms_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_missed_by_the_median_or_by_the_worst_case() {
        let target = Target::of(Contender::KhactlFast, Fault::HostLost, Phase::During).unwrap();
        assert!(target.is_met(75.0, 120.0));
        assert!(!target.is_met(75.1, 120.0));
        assert!(!target.is_met(60.0, 121.0));
        let keepalived = Contender::KeepalivedFastest;
        assert_eq!(Target::of(keepalived, Fault::HostLost, Phase::During), None);
        for fault in [Fault::AddressDeleted, Fault::ApiserverHung] {
            assert_eq!(
                Target::of(Contender::KhactlFast, fault, Phase::During),
                None
            );
        }
    }
}
