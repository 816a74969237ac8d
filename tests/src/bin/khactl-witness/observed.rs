//! What one participant has seen of the Lease, and whether it may try to have it. Pure.
//!
//! As client-go judges: a Lease is another's until its record has not changed for the whole lease time as this
//! participant itself watched it; clocks of two hosts are never compared.

use std::time::Duration;

use serde_json::Value;

/// A Lease's record as far as it is compared: times to the second, as client-go keeps them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    holder: String,
    duration_seconds: Option<u64>,
    acquired: String,
    renewed: String,
    pub(crate) transitions: u64,
}

impl Record {
    /// Of a Lease's `spec`.
    pub(crate) fn of(spec: &Value) -> Self {
        let text = |name: &str| spec[name].as_str().unwrap_or_default();
        let second = |name: &str| text(name).get(..19).unwrap_or_default().to_owned();
        Self {
            holder: text("holderIdentity").to_owned(),
            duration_seconds: spec["leaseDurationSeconds"].as_u64(),
            acquired: second("acquireTime"),
            renewed: second("renewTime"),
            transitions: spec["leaseTransitions"].as_u64().unwrap_or_default(),
        }
    }
}

/// What was last seen.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    holder: String,
    raw: Option<Record>,
    at: Duration,
}

impl Observed {
    /// A record was read.
    pub(crate) fn read(&mut self, record: &Record, now: Duration) {
        if self.raw.as_ref() != Some(record) {
            record.holder.clone_into(&mut self.holder);
            self.raw = Some(record.clone());
            self.at = now;
        }
    }

    /// This participant's own record was written; `now` is before that.
    pub(crate) fn wrote(&mut self, identity: &str, now: Duration) {
        identity.clone_into(&mut self.holder);
        self.at = now;
    }

    /// Whether the Lease is this participant's, as far as it knows.
    pub(crate) fn leads(&self, identity: &str) -> bool {
        self.holder == identity
    }

    /// Whether it may write itself into the record that it read.
    pub(crate) fn may_try(
        &self,
        record: &Record,
        identity: &str,
        lease: Duration,
        now: Duration,
    ) -> bool {
        record.holder.is_empty() || self.at + lease <= now || self.leads(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const LEASE: Duration = Duration::from_secs(15);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn held(by: &str, renewed: &str) -> Record {
        Record::of(&json!({"holderIdentity": by, "renewTime": renewed, "leaseTransitions": 3}))
    }

    #[test]
    fn anothers_lease_is_tried_once_it_has_not_changed_for_its_whole_time() {
        let mut observed = Observed::default();
        let first = held("cp1", "2026-01-01T00:00:00.000000Z");
        observed.read(&first, at(100));
        assert!(!observed.may_try(&first, "cp2", LEASE, at(114)));
        let renewed = held("cp1", "2026-01-01T00:00:09.000000Z");
        observed.read(&renewed, at(110));
        assert!(!observed.may_try(&renewed, "cp2", LEASE, at(116)));
        observed.read(&renewed, at(120));
        assert!(observed.may_try(&renewed, "cp2", LEASE, at(125)));
    }

    #[test]
    fn a_lease_without_a_holder_is_tried_at_once() {
        let mut observed = Observed::default();
        let cleared = held("", "2026-01-01T00:00:00.000000Z");
        observed.read(&cleared, at(100));
        assert!(observed.may_try(&cleared, "cp2", LEASE, at(100)));
    }

    #[test]
    fn who_leads_renews_and_who_was_replaced_no_longer_leads() {
        let mut observed = Observed::default();
        observed.wrote("cp1", at(100));
        let own = held("cp1", "2026-01-01T00:00:00.000000Z");
        observed.read(&own, at(101));
        assert!(observed.may_try(&own, "cp1", LEASE, at(101)));
        let others = held("cp2", "2026-01-01T00:00:05.000000Z");
        observed.read(&others, at(106));
        assert!(!observed.leads("cp1"));
        assert!(!observed.may_try(&others, "cp1", LEASE, at(106)));
    }
}
