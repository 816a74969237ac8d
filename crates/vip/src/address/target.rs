//! Where the VIP belongs on this host: the interface that the spec names or whose network holds it.

use std::fmt;
use std::net::IpAddr;

use crate::address::announcement::Mac;
use crate::address::netlink::{Address, Link};
use crate::error::VipError;

/// A VIP as the spec has it. The prefix only selects the interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vip {
    /// The address itself.
    pub address: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
    /// Which interface.
    pub interface: Selector,
}

/// How the interface is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The one that has an address in the VIP's network.
    Auto,
    /// By its name.
    Named(String),
}

/// A VIP with its place on this host. Two are the same if the address is at the same interface, whatever that is called
/// and whichever hardware address it has just now.
#[derive(Debug, Clone)]
pub struct Target {
    /// The address.
    pub address: IpAddr,
    /// The interface's number, which changes when it is made anew.
    pub index: u32,
    /// The interface's name.
    pub interface: String,
    /// Its hardware address when it was looked at.
    pub mac: Mac,
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        (self.address, self.index) == (other.address, other.index)
    }
}

impl Eq for Target {}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Vip {
    /// Finds its place among what the host has.
    pub(crate) fn place(&self, links: &[Link], addresses: &[Address]) -> Result<Target, VipError> {
        let link = match &self.interface {
            Selector::Named(name) => {
                links
                    .iter()
                    .find(|link| link.name == *name)
                    .ok_or_else(|| VipError::NoInterface {
                        vip: self.to_string(),
                        interface: name.clone(),
                    })?
            }
            Selector::Auto => links
                .iter()
                .filter(|link| !link.loopback)
                .find(|link| {
                    addresses.iter().any(|other| {
                        other.index == link.index
                            && other.address != self.address
                            && same_network(other.address, self.address, self.prefix)
                    })
                })
                .ok_or_else(|| VipError::NoNetwork {
                    vip: self.to_string(),
                })?,
        };
        let mac = link.mac.ok_or_else(|| VipError::NoEthernet {
            vip: self.to_string(),
            interface: link.name.clone(),
        })?;
        Ok(Target {
            address: self.address,
            index: link.index,
            interface: link.name.clone(),
            mac,
        })
    }
}

/// Whether both are in one network of `prefix` bits.
pub(crate) fn same_network(left: IpAddr, right: IpAddr, prefix: u8) -> bool {
    let (left, right, bits) = match (left, right) {
        (IpAddr::V4(left), IpAddr::V4(right)) => {
            (u128::from(left.to_bits()), u128::from(right.to_bits()), 32)
        }
        (IpAddr::V6(left), IpAddr::V6(right)) => (left.to_bits(), right.to_bits(), 128),
        _ => return false,
    };
    let host_bits = u32::from(bits - prefix.min(bits));
    let differing = left ^ right;
    differing.checked_shr(host_bits).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str) -> Link {
        Link {
            index,
            name: name.to_owned(),
            mac: Some([2, 0, 0, 0, 0, 1]),
            loopback: name == "lo",
            running: true,
        }
    }

    fn address(index: u32, text: &str) -> Address {
        Address {
            index,
            prefix: 24,
            address: text.parse().expect("address"),
        }
    }

    fn vip(text: &str, prefix: u8, interface: Selector) -> Vip {
        Vip {
            address: text.parse().expect("address"),
            prefix,
            interface,
        }
    }

    #[test]
    fn auto_takes_the_interface_with_an_address_in_the_vips_network() {
        let links = [link(1, "lo"), link(2, "eth0"), link(3, "eth1")];
        let addresses = [
            address(1, "127.0.0.1"),
            address(2, "192.168.1.5"),
            address(3, "10.77.0.11"),
            address(3, "fd00:77::11"),
        ];
        let four = vip("10.77.0.100", 24, Selector::Auto);
        assert_eq!(
            four.place(&links, &addresses).expect("found").interface,
            "eth1"
        );
        let six = vip("fd00:77::100", 64, Selector::Auto);
        assert_eq!(six.place(&links, &addresses).expect("found").index, 3);
    }

    #[test]
    fn the_interface_that_carries_the_network_is_taken_and_not_its_parts() {
        // Parts of a bond or a bridge share its hardware address and have no addresses; a VLAN lies above both.
        let links = [
            link(2, "eth0"),
            link(3, "eth1"),
            link(4, "bond0"),
            link(5, "bond0.10"),
            link(6, "br0"),
        ];
        let addresses = [
            address(4, "192.168.1.5"),
            address(5, "10.77.0.11"),
            address(6, "10.78.0.11"),
        ];
        for (wanted, found) in [
            ("192.168.1.100", "bond0"),
            ("10.77.0.100", "bond0.10"),
            ("10.78.0.100", "br0"),
        ] {
            let target = vip(wanted, 24, Selector::Auto).place(&links, &addresses);
            assert_eq!(target.expect("found").interface, found);
        }
        let named = vip("10.77.0.100", 24, Selector::Named("bond0.10".to_owned()));
        assert_eq!(named.place(&links, &addresses).expect("found").index, 5);
    }

    #[test]
    fn a_leftover_vip_does_not_select_its_own_interface() {
        let links = [link(2, "eth0")];
        let addresses = [address(2, "10.77.0.100")];
        assert!(matches!(
            vip("10.77.0.100", 24, Selector::Auto).place(&links, &addresses),
            Err(VipError::NoNetwork { .. })
        ));
    }

    #[test]
    fn a_named_interface_is_taken_without_looking_at_networks() {
        let links = [link(2, "eth0")];
        let named = vip("10.77.0.100", 24, Selector::Named("eth0".to_owned()));
        assert_eq!(named.place(&links, &[]).expect("found").index, 2);
        let missing = vip("10.77.0.100", 24, Selector::Named("eth9".to_owned()));
        assert!(matches!(
            missing.place(&links, &[]),
            Err(VipError::NoInterface { .. })
        ));
    }

    #[test]
    fn networks_are_compared_by_the_prefix_alone() {
        let of = |text: &str| text.parse::<IpAddr>().expect("address");
        assert!(same_network(of("10.0.0.1"), of("10.0.0.254"), 24));
        assert!(!same_network(of("10.0.0.1"), of("10.0.1.1"), 24));
        assert!(same_network(of("10.0.0.1"), of("99.0.0.1"), 0));
        assert!(!same_network(of("10.0.0.1"), of("10.0.0.2"), 32));
        assert!(!same_network(of("10.0.0.1"), of("fd00::1"), 0));
    }
}
