//! What a host knows of its network and disks before anything runs: interfaces, its own address,
//! free space. Reads only.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;

pub use khactl_sys::interfaces::Interface;

use crate::error::HostError;

/// The interfaces of this network namespace, by name.
pub fn interfaces() -> Result<Vec<Interface>, HostError> {
    khactl_sys::interfaces::list().map_err(|source| HostError::Kernel {
        what: "the network interfaces",
        source,
    })
}

/// The address that the default route uses, IPv4 before IPv6; `None` without a default route.
pub fn default_address() -> Option<IpAddr> {
    // Any address outside: connecting a datagram socket sends nothing, it only makes the kernel
    // choose a route. Those of RFC 5737 and RFC 3849 belong to nobody.
    source_address(Ipv4Addr::new(192, 0, 2, 1).into())
        .or_else(|| source_address(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()))
}

/// The address from which this host would reach `destination`; `None` if no route leads there.
pub fn source_address(destination: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match destination {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    // Discard: a port is needed, nothing is sent to it.
    socket.connect(SocketAddr::new(destination, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The interface that has `address`, with the address's prefix length in bits.
pub fn interface_of(interfaces: &[Interface], address: IpAddr) -> Option<(&Interface, u8)> {
    interfaces.iter().find_map(|interface| {
        let (_, prefix) = interface
            .addresses
            .iter()
            .find(|(found, _)| *found == address)?;
        Some((interface, *prefix))
    })
}

/// Free and total bytes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that an unprivileged user may still write.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Space of the file system that holds `path`, or the nearest parent of it that exists.
pub fn disk_space(path: &Path) -> Result<DiskSpace, HostError> {
    let mut existing = path;
    let found = loop {
        match rustix::fs::statvfs(existing) {
            Ok(found) => break found,
            Err(rustix::io::Errno::NOENT) if existing.parent().is_some() => {
                existing = existing.parent().unwrap_or(Path::new("/"));
            }
            Err(errno) => return Err(HostError::read(path)(io::Error::from(errno))),
        }
    };
    Ok(DiskSpace {
        free: found.f_bavail * found.f_frsize,
        total: found.f_blocks * found.f_frsize,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_reached_from_loopback() {
        let here = IpAddr::from(Ipv4Addr::LOCALHOST);
        assert_eq!(source_address(here), Some(here));
        let all = interfaces().unwrap();
        let (interface, prefix) = interface_of(&all, here).unwrap();
        assert_eq!((interface.name.as_str(), prefix), ("lo", 8));
    }

    #[test]
    fn default_address_is_one_of_the_hosts_own() {
        if let Some(address) = default_address() {
            assert!(
                interface_of(&interfaces().unwrap(), address).is_some(),
                "{address}"
            );
        }
    }

    #[test]
    fn disk_space_of_a_folder_to_come_is_that_of_its_parent() {
        let folder = tempfile::tempdir().unwrap();
        let space = disk_space(&folder.path().join("not/yet")).unwrap();
        assert!(space.total > 0 && space.free <= space.total);
    }
}
