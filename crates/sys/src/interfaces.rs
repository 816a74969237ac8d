//! The network interfaces of the calling thread's network namespace, with their addresses.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name, for example `eth0`.
    pub name: String,
    /// The kernel's number for it; 0 where the kernel names an interface without a link layer.
    pub index: u32,
    /// Administratively up.
    pub up: bool,
    /// A carrier is there: the link works.
    pub carrier: bool,
    /// The loopback interface.
    pub loopback: bool,
    /// Its addresses with their prefix lengths in bits, in the kernel's order.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// Frees the list when it goes out of scope, whichever way that happens.
struct List(*mut libc::ifaddrs);

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `getifaddrs` and is freed once.
        unsafe { libc::freeifaddrs(self.0) };
    }
}

/// Lists the interfaces by name.
pub fn list() -> io::Result<Vec<Interface>> {
    let mut head = ptr::null_mut();
    // SAFETY: `head` is valid for writing one pointer.
    if unsafe { libc::getifaddrs(&raw mut head) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let list = List(head);
    let mut found: BTreeMap<String, Interface> = BTreeMap::new();
    let mut next = list.0;
    while !next.is_null() {
        // SAFETY: every node of the list stays valid until `list` is dropped.
        let node = unsafe { &*next };
        next = node.ifa_next;
        // SAFETY: `ifa_name` is a NUL-terminated string of the list's own.
        let label = unsafe { CStr::from_ptr(node.ifa_name) }.to_string_lossy();
        // An address label such as `eth0:vip` belongs to `eth0`.
        let name = label.split(':').next().unwrap_or_default().to_owned();
        // The constants are bits of an unsigned word that libc types as signed.
        let has = |flag: libc::c_int| node.ifa_flags & flag.cast_unsigned() != 0;
        let entry = found.entry(name.clone()).or_insert(Interface {
            name,
            index: 0,
            up: has(libc::IFF_UP),
            carrier: has(libc::IFF_LOWER_UP),
            loopback: has(libc::IFF_LOOPBACK),
            addresses: Vec::new(),
        });
        // SAFETY: `ifa_addr` is null or points to a socket address of the list.
        if let Some(index) = unsafe { link_index(node.ifa_addr) } {
            entry.index = index;
        }
        // SAFETY: as above, for both pointers.
        let (address, mask) = unsafe { (address(node.ifa_addr), address(node.ifa_netmask)) };
        if let Some(address) = address {
            entry.addresses.push((address, mask.map_or(0, prefix)));
        }
    }
    Ok(found.into_values().collect())
}

/// # Safety
/// `raw` is null or points to a valid socket address of the size that its family asks for.
unsafe fn address(raw: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: the caller's promise; unaligned reads because the list packs its addresses.
    unsafe {
        if raw.is_null() {
            return None;
        }
        match i32::from(ptr::read_unaligned(&raw const (*raw).sa_family)) {
            libc::AF_INET => {
                let v4 = ptr::read_unaligned(raw.cast::<libc::sockaddr_in>());
                Some(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into())
            }
            libc::AF_INET6 => {
                let v6 = ptr::read_unaligned(raw.cast::<libc::sockaddr_in6>());
                Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

/// # Safety
/// As for [`address`].
unsafe fn link_index(raw: *const libc::sockaddr) -> Option<u32> {
    // SAFETY: the caller's promise.
    unsafe {
        if raw.is_null() || i32::from((*raw).sa_family) != libc::AF_PACKET {
            return None;
        }
        let link = ptr::read_unaligned(raw.cast::<libc::sockaddr_ll>());
        u32::try_from(link.sll_ifindex).ok()
    }
}

/// Leading one bits of a netmask.
fn prefix(mask: IpAddr) -> u8 {
    let ones = match mask {
        IpAddr::V4(mask) => mask.to_bits().leading_ones(),
        IpAddr::V6(mask) => mask.to_bits().leading_ones(),
    };
    u8::try_from(ones).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_listed_with_its_address_and_prefix() {
        let all = list().unwrap();
        let lo = all
            .iter()
            .find(|i| i.loopback)
            .expect("a loopback interface");
        assert_eq!(lo.name, "lo");
        assert_eq!(lo.index, 1);
        assert!(lo.addresses.contains(&(Ipv4Addr::LOCALHOST.into(), 8)));
    }

    #[test]
    fn prefix_counts_the_bits_of_a_mask() {
        assert_eq!(prefix(Ipv4Addr::new(255, 255, 240, 0).into()), 20);
        assert_eq!(prefix("ffff:ffff::".parse().unwrap()), 32);
        assert_eq!(prefix(Ipv4Addr::UNSPECIFIED.into()), 0);
    }
}
