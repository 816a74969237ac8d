//! Whose API server fails its own readiness probe: each host tells the leader, and the leader tells everybody with its
//! answers, so that an operator's probe counts for every balancer. A host that goes down says the same.
//!
//! It only takes a host out of turn: balancers have checks of their own beside, and it ends no connection. It is
//! forgotten where nobody repeats it, so that a khad that is dead or cut off takes nobody out of service; and not
//! before, since a leader that has just begun has not heard everybody yet.

use khactl_plan::REPORT_FRESH_MS;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Which hosts, and at which boot time this was heard last.
#[derive(Debug, Default)]
pub struct Unready(Mutex<BTreeMap<u64, u64>>);

impl Unready {
    /// The leader has told, at that boot time or later; true if a host is new among them.
    pub fn learn(&self, hosts: BTreeSet<u64>, now_ms: u64) -> bool {
        let mut told = self.told();
        told.retain(|_, at_ms| is_fresh(*at_ms, now_ms));
        let news = hosts.iter().any(|id| !told.contains_key(id));
        told.extend(hosts.into_iter().map(|id| (id, now_ms)));
        news
    }

    /// Ids of those of whom it was said lately.
    pub fn hosts(&self, now_ms: u64) -> BTreeSet<u64> {
        self.told()
            .iter()
            .filter(|(_, at_ms)| is_fresh(**at_ms, now_ms))
            .map(|(id, _)| *id)
            .collect()
    }

    fn told(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_fresh(at_ms: u64, now_ms: u64) -> bool {
    now_ms.saturating_sub(at_ms) <= REPORT_FRESH_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_unready_until_nobody_has_said_so_for_a_while() {
        let unready = Unready::default();
        let two = || BTreeSet::from([2]);
        assert!(!unready.learn(BTreeSet::new(), 1_000));
        assert!(unready.learn(two(), 2_000));
        assert!(!unready.learn(two(), 3_000));
        // Another leader, which has not heard of it yet.
        assert!(!unready.learn(BTreeSet::new(), 3_500));
        assert_eq!(unready.hosts(3_500), two());
        assert!(!unready.learn(two(), 4_000));
        assert_eq!(unready.hosts(4_000 + REPORT_FRESH_MS), two());
        let forgotten_ms = 4_001 + REPORT_FRESH_MS;
        assert_eq!(unready.hosts(forgotten_ms), BTreeSet::new());
        assert!(unready.learn(BTreeSet::from([1, 2]), forgotten_ms));
        assert_eq!(unready.hosts(forgotten_ms), BTreeSet::from([1, 2]));
    }
}
