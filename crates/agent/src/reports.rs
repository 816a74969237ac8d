//! What the hosts last told the leader. The leader's memory only: a new one collects afresh
//! (docs/lease.md, M2).

use khactl_model::facts::HostReport;
use khactl_plan::REPORT_FRESH_MS;
use std::collections::{BTreeMap, BTreeSet};

/// Reports by host id.
#[derive(Debug, Default)]
pub struct Reports {
    by_host: BTreeMap<u64, (HostReport, u64)>,
    /// The term of the present leadership, and since when.
    leading: Option<(u64, u64)>,
    /// Which leadership's and epoch's majority, and since when.
    fence_majority: Option<((u64, u64), u64)>,
    /// Whose turn it is to take other arguments, and since when.
    turn: Option<(u64, u64)>,
}

impl Reports {
    /// A report came in at that boot time.
    pub fn insert(&mut self, report: HostReport, now_ms: u64) {
        self.by_host.insert(report.host_id, (report, now_ms));
    }

    /// The term that this agent leads, if it does. What was collected under another leadership is
    /// dropped, also if it ended and began again unseen (M2).
    pub fn lead(&mut self, term: Option<u64>, now_ms: u64) {
        if term != self.leading.map(|(known, _)| known) {
            *self = Self {
                leading: term.map(|term| (term, now_ms)),
                ..Self::default()
            };
        }
    }

    /// Whether a majority reports the present epoch as its fence; remembers since when. Another
    /// term or epoch begins anew: what was seen before says nothing of it.
    pub fn fenced(&mut self, majority: bool, (term, epoch): (u64, u64), now_ms: u64) {
        self.fence_majority = match (majority, self.fence_majority) {
            (true, Some((of, since))) if of == (term, epoch) => Some((of, since)),
            (true, _) => Some(((term, epoch), now_ms)),
            (false, _) => None,
        };
    }

    /// Whose turn it is to take other arguments; remembers since when.
    pub fn in_turn(&mut self, host_id: Option<u64>, now_ms: u64) {
        let known = self.turn.filter(|(known, _)| Some(*known) == host_id);
        self.turn = known.or(host_id.map(|host_id| (host_id, now_ms)));
    }

    /// Since when it has been that host's turn.
    pub fn turn_since_ms(&self) -> Option<u64> {
        self.turn.map(|(_, since)| since)
    }

    /// Since when this agent leads.
    pub fn leading_since_ms(&self) -> Option<u64> {
        self.leading.map(|(_, since_ms)| since_ms)
    }

    /// Since when a majority has reported the present epoch as its fence.
    pub fn fence_majority_since_ms(&self) -> Option<u64> {
        self.fence_majority.map(|(_, since)| since)
    }

    /// Hosts whose API server fails its own readiness probe, as they told lately.
    pub fn unready(&self, now_ms: u64) -> BTreeSet<u64> {
        self.by_host
            .iter()
            .filter(|(_, (_, at_ms))| now_ms.saturating_sub(*at_ms) <= REPORT_FRESH_MS)
            .filter(|(_, (report, _))| report.unready)
            .map(|(id, _)| *id)
            .collect()
    }

    /// Every report with its age in milliseconds.
    pub fn aged(&self, now_ms: u64) -> BTreeMap<u64, (HostReport, u64)> {
        self.by_host
            .iter()
            .map(|(id, (report, at_ms))| (*id, (report.clone(), now_ms.saturating_sub(*at_ms))))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(host_id: u64) -> HostReport {
        HostReport {
            host_id,
            version: "1".into(),
            machine: String::new(),
            components: Vec::new(),
            vip: None,
            problems: Vec::new(),
            certificates: BTreeMap::new(),
            arguments: 0,
            unready: false,
        }
    }

    #[test]
    fn a_new_leader_collects_afresh() {
        let mut reports = Reports::default();
        reports.insert(report(1), 5);
        reports.lead(Some(3), 10);
        assert!(reports.aged(20).is_empty());
        reports.insert(report(2), 12);
        reports.lead(Some(3), 15);
        assert_eq!(reports.aged(20)[&2].1, 8);
        assert_eq!(reports.leading_since_ms(), Some(10));
        // Leadership was lost and won again before anybody looked.
        reports.fenced(true, (3, 1), 25);
        reports.lead(Some(5), 28);
        assert!(reports.aged(30).is_empty());
        assert_eq!(reports.fence_majority_since_ms(), None);
        assert_eq!(reports.leading_since_ms(), Some(28));
        reports.lead(None, 30);
        assert_eq!(reports.leading_since_ms(), None);
    }

    #[test]
    fn a_host_is_unready_as_long_as_it_says_so_itself() {
        let mut reports = Reports::default();
        let unready = |host_id| HostReport {
            unready: true,
            ..report(host_id)
        };
        reports.insert(unready(1), 0);
        reports.insert(unready(2), 1_000);
        reports.insert(report(3), 1_000);
        assert_eq!(reports.unready(1_000), BTreeSet::from([1, 2]));
        // The first has fallen silent, which says nothing of its API server.
        assert_eq!(reports.unready(REPORT_FRESH_MS + 1), BTreeSet::from([2]));
        reports.insert(report(2), 2_000);
        assert_eq!(reports.unready(2_000), BTreeSet::from([1]));
    }

    #[test]
    fn a_turn_counts_from_when_it_was_first_seen_to_be_that_hosts() {
        let mut reports = Reports::default();
        reports.lead(Some(1), 0);
        reports.in_turn(None, 5);
        assert_eq!(reports.turn_since_ms(), None);
        reports.in_turn(Some(1), 10);
        reports.in_turn(Some(1), 20);
        assert_eq!(reports.turn_since_ms(), Some(10));
        reports.in_turn(Some(2), 30);
        assert_eq!(reports.turn_since_ms(), Some(30));
        reports.lead(Some(2), 40);
        assert_eq!(reports.turn_since_ms(), None);
    }

    #[test]
    fn the_fence_counts_from_when_the_majority_was_first_seen() {
        let mut reports = Reports::default();
        reports.lead(Some(1), 0);
        reports.fenced(true, (1, 1), 10);
        reports.fenced(true, (1, 1), 20);
        assert_eq!(reports.fence_majority_since_ms(), Some(10));
        reports.fenced(false, (1, 1), 30);
        reports.fenced(true, (1, 1), 40);
        assert_eq!(reports.fence_majority_since_ms(), Some(40));
        // The next epoch's majority, although "no majority" was never seen between.
        reports.fenced(true, (1, 2), 50);
        assert_eq!(reports.fence_majority_since_ms(), Some(50));
        reports.fenced(true, (2, 2), 60);
        assert_eq!(reports.fence_majority_since_ms(), Some(60));
    }
}
