//! What the keeper sees of the VIP's interfaces and of other machines, and what of that keeps this host from serving.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::address::conflict::shown;
use crate::address::inquiry::Verdict;
use crate::address::target::Target;

/// All of it, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// The address stands here by the lease's will.
    pub holding: bool,
    /// Interfaces of the VIP that have no carrier, or are gone.
    pub without_carrier: BTreeSet<u32>,
    /// Those of them that are gone.
    pub gone: BTreeSet<u32>,
    /// What the interfaces of the VIP are called now.
    pub names: BTreeMap<u32, String>,
    /// Whether other machines have the VIP.
    pub(crate) verdicts: BTreeMap<IpAddr, Verdict>,
}

impl Observed {
    /// What keeps the host from serving, in words.
    pub(crate) fn hindrances(&self, targets: &[Target]) -> Vec<String> {
        let mut hindrances = Vec::new();
        for target in targets {
            let (index, interface) = (target.index, &target.interface);
            if self.gone.contains(&index) {
                hindrances.push(format!("{interface} is gone"));
            } else if self.without_carrier.contains(&index) {
                hindrances.push(format!("{interface} has no carrier"));
            }
        }
        // Both families may be on one interface.
        hindrances.dedup();
        hindrances.extend(self.conflicts());
        let unasked = |address: &IpAddr| self.verdicts.get(address) == Some(&Verdict::Asking);
        let asking = targets.iter().filter(|target| unasked(&target.address));
        hindrances.extend(asking.map(|target| {
            format!(
                "asking whether another machine has the VIP {}",
                target.address
            )
        }));
        hindrances
    }

    /// Which machines have the VIP although they are none of the cluster's hosts.
    pub(crate) fn conflicts(&self) -> Vec<String> {
        let found = self.verdicts.iter().filter_map(|(address, verdict)| {
            let Verdict::InUse(mac) = verdict else {
                return None;
            };
            Some(format!("the VIP {address} is in use by {}", shown(*mac)))
        });
        found.collect()
    }

    /// The interfaces are not what they were when they were chosen.
    pub(crate) fn is_out_of_place(&self, targets: &[Target]) -> bool {
        let renamed = |target: &Target| {
            let name = self.names.get(&target.index);
            name.is_some_and(|name| *name != target.interface)
        };
        !self.without_carrier.is_empty() || targets.iter().any(renamed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_out_of_place_without_carrier_or_under_another_name() {
        let targets = [Target {
            address: "10.0.0.100".parse().expect("address"),
            index: 7,
            interface: "eth0".to_owned(),
            mac: [2; 6],
        }];
        let mut observed = Observed::default();
        assert!(!observed.is_out_of_place(&targets));
        observed.names.insert(7, "eth0".to_owned());
        observed.names.insert(8, "eth1".to_owned());
        assert!(!observed.is_out_of_place(&targets));
        observed.names.insert(7, "lan0".to_owned());
        assert!(observed.is_out_of_place(&targets));
        observed = Observed::default();
        observed.without_carrier.insert(7);
        assert!(observed.is_out_of_place(&targets));
    }

    #[test]
    fn every_hindrance_is_told_once_and_by_its_name() {
        let target = |address: &str| Target {
            address: address.parse().expect("address"),
            index: 7,
            interface: "eth0".to_owned(),
            mac: [2; 6],
        };
        let targets = [target("10.0.0.100"), target("fd00::100")];
        let mut observed = Observed::default();
        assert_eq!(observed.hindrances(&targets), Vec::<String>::new());
        observed.without_carrier.insert(7);
        assert_eq!(observed.hindrances(&targets), ["eth0 has no carrier"]);
        observed.gone.insert(7);
        assert_eq!(observed.hindrances(&targets), ["eth0 is gone"]);
        observed = Observed::default();
        observed
            .verdicts
            .insert(targets[0].address, Verdict::Asking);
        let stranger = Verdict::InUse([2, 0, 0, 0, 0, 9]);
        observed.verdicts.insert(targets[1].address, stranger);
        assert_eq!(
            observed.hindrances(&targets),
            [
                "the VIP fd00::100 is in use by 02:00:00:00:00:09",
                "asking whether another machine has the VIP 10.0.0.100"
            ]
        );
    }
}
