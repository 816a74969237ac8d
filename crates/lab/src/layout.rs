//! Names, addresses and paths of a lab's hosts. Pure: nothing here exists until it is made.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::error::{LabError, Result};
use crate::name::LabName;

/// The machine from which tests and people reach the cluster.
pub const CLIENT: &str = "client";

/// The address that lab clusters use as VIP; no host has it.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);

/// More hosts than any quorum needs, and far below the VIP's own address.
pub const HOSTS_MAX: usize = 50;

/// Every lab has this network on a switch of its own, so labs do not meet.
pub(crate) const PREFIX_LEN: u8 = 24;
const CLIENT_OCTET: u8 = 200;
const OBSERVER_OCTET: u8 = 201;
const FIRST_HOST_OCTET: u8 = 11;

/// Namespaces made by name lie here (the folder of `ip netns`).
pub(crate) const NETNS_DIR: &str = "/run/netns";
const STATE_DIR: &str = "/run/khactl-lab";
const DISK_DIR: &str = "/var/lib/khactl-lab";

/// What is known of one host before it exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLayout {
    /// `cp1`, `cp2`, … or `client`; also its port's name on the switch.
    pub name: String,
    /// Its address on `eth0`, prefix length 24.
    pub address: Ipv4Addr,
    /// Its network namespace's name.
    pub netns: String,
    /// The same through every boot, as a network card's is.
    pub mac: String,
    /// Its disk: folders that outlive a power cut.
    pub disk: PathBuf,
}

impl HostLayout {
    /// The file that stands for its network namespace.
    pub(crate) fn netns_file(&self) -> PathBuf {
        Path::new(NETNS_DIR).join(&self.netns)
    }

    fn new(lab: &LabName, name: String, octet: u8) -> Self {
        Self {
            address: Ipv4Addr::new(10, 77, 0, octet),
            netns: format!("{}{name}", netns_prefix(lab)),
            // Locally administered, then "kh".
            mac: format!("02:6b:68:00:00:{octet:02x}"),
            disk: disk_dir(lab).join(&name),
            name,
        }
    }
}

/// The control-plane hosts of a lab in order, and the client after them.
pub(crate) fn hosts_of(lab: &LabName, hosts: usize) -> Result<Vec<HostLayout>> {
    if hosts == 0 || hosts > HOSTS_MAX {
        return Err(LabError::HostCount { hosts });
    }
    let mut all: Vec<_> = (FIRST_HOST_OCTET..)
        .zip(1..=hosts)
        .map(|(octet, number)| HostLayout::new(lab, format!("cp{number}"), octet))
        .collect();
    all.push(HostLayout::new(lab, CLIENT.to_owned(), CLIENT_OCTET));
    Ok(all)
}

/// The machine from which the oracle asks; no host of the lab, so that no cut touches it.
pub(crate) fn observer_of(lab: &LabName) -> HostLayout {
    HostLayout::new(lab, "observer".to_owned(), OBSERVER_OCTET)
}

/// What all namespaces of a lab begin with, and those of no other lab.
pub(crate) fn netns_prefix(lab: &LabName) -> String {
    format!("kh-{lab}-")
}

/// The switch's namespace.
pub(crate) fn switch_netns(lab: &LabName) -> String {
    format!("{}sw", netns_prefix(lab))
}

/// State of a running lab; gone after a reboot of the machine, like the lab.
pub(crate) fn state_dir(lab: &LabName) -> PathBuf {
    labs_dir().join(lab.as_str())
}

/// Where every lab of this machine has its state folder.
pub(crate) fn labs_dir() -> PathBuf {
    PathBuf::from(STATE_DIR)
}

/// The disks of a lab's hosts.
pub(crate) fn disk_dir(lab: &LabName) -> PathBuf {
    PathBuf::from(DISK_DIR).join(lab.as_str())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn hosts_are_numbered_from_one_and_addressed_from_eleven() {
        let lab = LabName::new("lab").unwrap();
        let hosts = hosts_of(&lab, 3).unwrap();
        let seen: Vec<_> = hosts
            .iter()
            .map(|host| format!("{} {} {} {}", host.name, host.address, host.netns, host.mac))
            .collect();
        assert_eq!(
            seen,
            [
                "cp1 10.77.0.11 kh-lab-cp1 02:6b:68:00:00:0b",
                "cp2 10.77.0.12 kh-lab-cp2 02:6b:68:00:00:0c",
                "cp3 10.77.0.13 kh-lab-cp3 02:6b:68:00:00:0d",
                "client 10.77.0.200 kh-lab-client 02:6b:68:00:00:c8",
            ]
        );
        assert_eq!(hosts[0].disk, PathBuf::from("/var/lib/khactl-lab/lab/cp1"));
    }

    #[test]
    fn the_largest_lab_has_no_address_twice_and_leaves_the_vip_alone() {
        let hosts = hosts_of(&LabName::new("big").unwrap(), HOSTS_MAX).unwrap();
        let addresses: BTreeSet<_> = hosts.iter().map(|host| host.address).collect();
        assert_eq!(addresses.len(), HOSTS_MAX + 1);
        assert!(!addresses.contains(&VIP));
    }

    #[test]
    fn a_lab_without_hosts_or_with_too_many_is_refused() {
        let lab = LabName::new("lab").unwrap();
        assert!(hosts_of(&lab, 0).is_err());
        assert!(hosts_of(&lab, HOSTS_MAX + 1).is_err());
    }

    #[test]
    fn names_of_two_labs_never_share_a_prefix() {
        let short = LabName::new("a").unwrap();
        let long = LabName::new("ab").unwrap();
        assert!(!switch_netns(&long).starts_with(&netns_prefix(&short)));
    }
}
