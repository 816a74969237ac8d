//! The Lease with which kube-controller-manager or kube-scheduler says who of them leads.

use crate::component::ComponentName;

/// Where these Leases are.
pub const NAMESPACE: &str = "kube-system";

/// The components that elect a leader by a Lease, which has their own name.
pub const ELECTING: [ComponentName; 2] = [
    ComponentName::KubeControllerManager,
    ComponentName::KubeScheduler,
];

/// What a Lease said when it was read. Its times are of other hosts' wall clocks: they are compared for being the same,
/// and never with any clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaderLease {
    /// Changes with every write.
    pub resource_version: String,
    /// Who leads, as HOSTNAME_UUID; empty: nobody.
    pub holder: String,
    /// When the holder last renewed it, as written.
    pub renewed: String,
    /// The API server elects (coordinated leader election): it has a strategy.
    pub coordinated: bool,
}

impl LeaderLease {
    /// The machine's name in the holder's identity; `None`: nobody leads, or the identity is of another form.
    pub fn holder_host(&self) -> Option<&str> {
        let (host, rest) = self.holder.rsplit_once('_')?;
        (!host.is_empty() && !rest.is_empty()).then_some(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str) -> LeaderLease {
        LeaderLease {
            holder: holder.to_owned(),
            ..LeaderLease::default()
        }
    }

    #[test]
    fn a_holder_is_named_after_its_machine_and_a_random_number() {
        assert_eq!(held_by("cp1_4a-b").holder_host(), Some("cp1"));
        assert_eq!(held_by("a_b_4a").holder_host(), Some("a_b"));
        for other in ["", "cp1", "_x", "cp1_"] {
            assert_eq!(held_by(other).holder_host(), None, "{other}");
        }
    }
}
