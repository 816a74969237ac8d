//! Keeps the host's other interfaces from answering ARP for the VIP.
//!
//! Linux answers for any of its addresses on any interface. With `arp_ignore` 1 an interface
//! answers only for its own, and with `arp_announce` 2 an ARP request never names the VIP as its
//! sender. The kernel takes the larger of `all` and the interface's own value; `arp_ignore` is set
//! on `all`, since every other interface is meant, and values that are stricter already stay.
//! IPv6 needs nothing: neighbour discovery answers for the receiving interface alone.

use std::io;
use std::path::PathBuf;

use crate::error::VipError;

/// Sets both; an error names the setting that the host does not permit.
pub fn quiet_other_interfaces(interface: &str) -> Result<(), VipError> {
    raise("all", "arp_ignore", 1)?;
    raise(interface, "arp_announce", 2)
}

fn raise(interface: &str, setting: &str, at_least: u8) -> Result<(), VipError> {
    // Not by the `.`-separated name: an interface's own name may hold dots.
    let path: PathBuf = ["/proc/sys/net/ipv4/conf", interface, setting]
        .iter()
        .collect();
    let set = || -> io::Result<()> {
        let present = std::fs::read_to_string(&path)?;
        if present.trim().parse::<u8>().unwrap_or(0) < at_least {
            std::fs::write(&path, at_least.to_string())?;
        }
        Ok(())
    };
    set().map_err(|cause| VipError::Setting {
        path: path.clone(),
        cause,
    })
}
