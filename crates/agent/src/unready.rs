//! Whose API server fails its own readiness probe: each host tells the leader, and the leader tells everybody with its
//! answers, so that an operator's probe counts for every balancer. A host that goes down says the same.
//!
//! It only takes a host out of turn: balancers have checks of their own beside, and ends no connection. And it is forgotten
//! where nobody repeats it: a khad that is dead or cut off takes nobody out of service.

use khactl_plan::REPORT_FRESH_MS;
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What this host heard last.
#[derive(Debug, Default)]
pub struct Unready(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    hosts: BTreeSet<u64>,
    at_ms: u64,
}

impl Unready {
    /// The leader has told, at that boot time or later; true if that is news.
    pub fn learn(&self, hosts: BTreeSet<u64>, now_ms: u64) -> bool {
        let mut told = self.told();
        let news = told.hosts != hosts;
        *told = Told {
            hosts,
            at_ms: now_ms,
        };
        news
    }

    /// Ids of those hosts; none while the leader is not heard.
    pub fn hosts(&self, now_ms: u64) -> BTreeSet<u64> {
        let told = self.told();
        if now_ms.saturating_sub(told.at_ms) > REPORT_FRESH_MS {
            return BTreeSet::new();
        }
        told.hosts.clone()
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_leader_said_last_counts_until_it_is_old() {
        let unready = Unready::default();
        assert!(!unready.learn(BTreeSet::new(), 1_000));
        assert!(unready.learn(BTreeSet::from([2]), 2_000));
        assert!(!unready.learn(BTreeSet::from([2]), 3_000));
        assert_eq!(unready.hosts(3_000 + REPORT_FRESH_MS), BTreeSet::from([2]));
        assert_eq!(unready.hosts(3_001 + REPORT_FRESH_MS), BTreeSet::new());
        assert!(unready.learn(BTreeSet::new(), 9_000));
        assert_eq!(unready.hosts(9_000), BTreeSet::new());
    }
}
