//! An address with the length of its network's prefix: a VIP as `10.77.0.100/24`, a network as `10.96.0.0/12`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// An address and a prefix length that fits its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressPrefix {
    address: IpAddr,
    prefix: u8,
}

/// The text or the numbers are no address with a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address with a prefix length of 0 to 32 (IPv4) or 0 to 128 (IPv6)")]
pub struct NotAnAddressPrefix;

impl AddressPrefix {
    /// An address in a network; refused if the prefix is longer than the address.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self, NotAnAddressPrefix> {
        if prefix > width(address) {
            return Err(NotAnAddressPrefix);
        }
        Ok(Self { address, prefix })
    }

    /// The address as written, host bits included.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// The length of the network's part, in bits.
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// The length of the host's part, in bits.
    pub fn host_bits(self) -> u8 {
        width(self.address) - self.prefix
    }

    /// The lowest address of the network.
    pub fn network(self) -> IpAddr {
        from_bits(self.address, bits(self.address) & !self.host_mask())
    }

    /// The highest address of the network; in IPv4 its broadcast address.
    pub fn last(self) -> IpAddr {
        from_bits(self.address, bits(self.address) | self.host_mask())
    }

    /// Is `address` in this network?
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4()
            && (bits(address) ^ bits(self.address)) & !self.host_mask() & full_mask(self.address)
                == 0
    }

    /// Do the two networks share an address? Two networks overlap only if one holds the other.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.network()) || other.contains(self.network())
    }

    /// The `n`-th address of the network, from 0 for the network's own; `None` past its end.
    pub fn nth(self, n: u128) -> Option<IpAddr> {
        (n <= self.host_mask()).then(|| from_bits(self.address, bits(self.network()) | n))
    }

    fn host_mask(self) -> u128 {
        match self.host_bits() {
            128 => u128::MAX,
            bits => (1_u128 << bits) - 1,
        }
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

const fn full_mask(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(_) => u32::MAX as u128,
        IpAddr::V6(_) => u128::MAX,
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address of `family`'s family with these bits.
fn from_bits(family: IpAddr, bits: u128) -> IpAddr {
    match family {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the bits of an IPv4 address, widened before"
        )]
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    }
}

impl FromStr for AddressPrefix {
    type Err = NotAnAddressPrefix;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = text.split_once('/').ok_or(NotAnAddressPrefix)?;
        // `u8::from_str` takes a leading plus sign; an operator never means one.
        if !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NotAnAddressPrefix);
        }
        let address = address.parse().map_err(|_| NotAnAddressPrefix)?;
        let prefix = prefix.parse().map_err(|_| NotAnAddressPrefix)?;
        Self::new(address, prefix)
    }
}

impl fmt::Display for AddressPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Serialize for AddressPrefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> AddressPrefix {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_knows_its_ends_and_its_members() {
        let vip = of("10.77.0.100/24");
        assert_eq!(vip.network().to_string(), "10.77.0.0");
        assert_eq!(vip.last().to_string(), "10.77.0.255");
        assert!(vip.contains("10.77.0.1".parse().unwrap()));
        assert!(!vip.contains("10.77.1.1".parse().unwrap()));
        assert!(!vip.contains("::1".parse().unwrap()));
        assert!(of("0.0.0.0/0").contains("203.0.113.9".parse().unwrap()));
        assert!(of("::/0").contains("2001:db8::1".parse().unwrap()));
        assert!(!of("10.0.0.1/32").contains("10.0.0.2".parse().unwrap()));
    }

    #[test]
    fn the_first_service_address_follows_the_network_address() {
        assert_eq!(of("10.96.0.0/12").nth(1).unwrap().to_string(), "10.96.0.1");
        assert_eq!(of("fd00::/108").nth(1).unwrap().to_string(), "fd00::1");
        assert_eq!(of("10.0.0.0/31").nth(2), None);
    }

    #[test]
    fn overlap_is_found_whichever_network_is_the_larger() {
        assert!(of("10.0.0.0/8").overlaps(of("10.96.0.0/12")));
        assert!(of("10.96.0.0/12").overlaps(of("10.0.0.0/8")));
        assert!(!of("10.96.0.0/12").overlaps(of("10.244.0.0/16")));
        assert!(!of("::/0").overlaps(of("0.0.0.0/0")));
    }

    #[test]
    fn what_is_no_address_with_a_prefix_is_refused() {
        for text in [
            "",
            "/",
            "10.0.0.1",
            "10.0.0.1/33",
            "10.0.0.300/24",
            "10.0.0.1/+8",
            "10.0.0.1/",
            "::/129",
            "a/8",
        ] {
            assert!(text.parse::<AddressPrefix>().is_err(), "{text}");
        }
    }
}
