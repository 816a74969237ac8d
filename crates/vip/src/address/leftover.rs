//! Clears away a VIP that a predecessor left behind when it died (rule P10), before anything else
//! is done. Which one that is stands in a file on tmpfs, as short-lived as the address itself.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::address::netlink::{Netlink, Request};
use crate::error::VipError;

/// The file that names the addresses, a line each.
#[derive(Debug)]
pub struct Leftover {
    path: PathBuf,
}

impl Leftover {
    /// In the run folder.
    pub fn new(run_dir: &Path) -> Self {
        Self {
            path: run_dir.join("vip.addresses"),
        }
    }

    /// Removes what the file names from every interface; gives back what was there.
    pub fn clear(&self) -> Result<Vec<IpAddr>, VipError> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => return Err(self.file_error(cause)),
        };
        let addresses: Vec<IpAddr> = text.lines().filter_map(|line| line.parse().ok()).collect();
        remove_everywhere(&addresses)
    }

    /// Remembers these, and removes them too: whoever put them there, it was not the lease of
    /// this process.
    pub fn remember(&self, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, VipError> {
        let lines: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let fresh = self.path.with_extension("new");
        std::fs::write(&fresh, lines.join("\n"))
            .and_then(|()| std::fs::rename(&fresh, &self.path))
            .map_err(|cause| self.file_error(cause))?;
        remove_everywhere(addresses)
    }

    fn file_error(&self, cause: io::Error) -> VipError {
        VipError::Leftover {
            path: self.path.clone(),
            cause,
        }
    }
}

fn remove_everywhere(addresses: &[IpAddr]) -> Result<Vec<IpAddr>, VipError> {
    let failed = |cause| VipError::Netlink {
        doing: "removing a VIP that was left behind",
        cause,
    };
    let mut netlink = Netlink::open().map_err(failed)?;
    let mut removed = Vec::new();
    for found in netlink.addresses().map_err(failed)? {
        if addresses.contains(&found.address) {
            netlink
                .carry_out(&Request::remove(found.index, found.address))
                .map_err(failed)?;
            tracing::info!(vip = %found.address, "removed a VIP that was left behind");
            removed.push(found.address);
        }
    }
    Ok(removed)
}
