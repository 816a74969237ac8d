//! What was seen of one Lease, and since when: by the clock of whoever looks, at the moment the answer was there.

use khactl_model::leader_lease::LeaderLease;

/// The newest look at a Lease, and how long it has been like that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sightings {
    newest: Option<LeaderLease>,
    held_since_ms: u64,
    unchanged_since_ms: u64,
}

impl Sightings {
    /// An answer was there at that time.
    pub fn note(&mut self, lease: LeaderLease, now_ms: u64) {
        let before = self.newest.as_ref();
        if before.is_none_or(|before| before.holder != lease.holder) {
            self.held_since_ms = now_ms;
        }
        if before != Some(&lease) {
            self.unchanged_since_ms = now_ms;
        }
        self.newest = Some(lease);
    }

    /// The Lease as it was seen last.
    pub fn newest(&self) -> Option<&LeaderLease> {
        self.newest.as_ref()
    }

    /// When its present holder was first seen. It had it by then.
    pub fn held_since_ms(&self) -> u64 {
        self.held_since_ms
    }

    /// Since when every look has shown the same: nobody wrote between the first and the last of them.
    pub fn unchanged_since_ms(&self) -> u64 {
        self.unchanged_since_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(version: &str, holder: &str) -> LeaderLease {
        LeaderLease {
            resource_version: version.to_owned(),
            holder: holder.to_owned(),
            ..LeaderLease::default()
        }
    }

    #[test]
    fn a_holder_counts_from_its_first_sight_and_a_renewal_only_ends_what_was_unchanged() {
        let mut sightings = Sightings::default();
        sightings.note(lease("1", "a_1"), 10);
        sightings.note(lease("1", "a_1"), 20);
        assert_eq!(sightings.unchanged_since_ms(), 10);
        sightings.note(lease("2", "a_1"), 30);
        assert_eq!(sightings.held_since_ms(), 10);
        assert_eq!(sightings.unchanged_since_ms(), 30);
        sightings.note(lease("3", "b_1"), 40);
        assert_eq!(sightings.held_since_ms(), 40);
    }
}
