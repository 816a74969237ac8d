//! Second descriptors of khavip's packet sockets. The kernel waits out a grace period of RCU for every packet socket
//! whose last descriptor is closed, one after the other and before the end of a killed process can be seen: some
//! fifty milliseconds for four of them, in which nobody may give up what the dead one held (docs/lease.md, K1). With a
//! second descriptor here the end shows at once, and the sockets are closed after the release, where nobody waits.
//!
//! Nothing is ever read from them nor sent by them. What they hear between the end and the release stays in their
//! queues, which the kernel bounds, and goes with them.

use rustix::fs::fstat;
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::Path;

/// The second descriptors, by the sockets' inodes.
#[derive(Debug, Default)]
pub struct SpareSockets {
    pid: u32,
    /// All packet sockets of the process' network when it was last looked at: khavip may have thousands of other
    /// descriptors, so they are gone through at a change alone.
    listed: BTreeSet<u64>,
    held: BTreeMap<u64, OwnedFd>,
}

impl SpareSockets {
    /// Follows what that process has open now. Where khad may not look at it nothing is held, and its end shows later.
    /// May wait for the kernel, as closing such a socket does.
    pub fn follow(&mut self, pid: u32, pidfd: impl AsFd) {
        let process = Path::new("/proc").join(pid.to_string());
        let listed = std::fs::read_to_string(process.join("net/packet")).unwrap_or_default();
        let listed = packet_inodes(&listed);
        if (pid, &listed) == (self.pid, &self.listed) {
            return;
        }
        self.hold(&process, pidfd, &listed);
        (self.pid, self.listed) = (pid, listed);
    }

    /// How many sockets are held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// True if none is.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    fn hold(&mut self, process: &Path, pidfd: impl AsFd, inodes: &BTreeSet<u64>) {
        let open: BTreeMap<u64, RawFd> = open_sockets(process)
            .into_iter()
            .filter(|(inode, _)| inodes.contains(inode))
            .collect();
        self.held.retain(|inode, _| open.contains_key(inode));
        for (inode, number) in open {
            if self.held.contains_key(&inode) {
                continue;
            }
            let Ok(spare) = pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()) else {
                continue;
            };
            // The number may have come to mean another file since it was listed.
            if fstat(&spare).is_ok_and(|found| found.st_ino == inode) {
                self.held.insert(inode, spare);
            }
        }
    }
}

/// The inodes in the kernel's list of packet sockets: the last of nine columns, below a heading.
fn packet_inodes(listed: &str) -> BTreeSet<u64> {
    listed
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(8)?.parse().ok())
        .collect()
}

/// Every open socket of a process: its inode and one of its descriptors.
fn open_sockets(process: &Path) -> Vec<(u64, RawFd)> {
    let Ok(entries) = std::fs::read_dir(process.join("fd")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let target = std::fs::read_link(entry.path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?;
            let inode = inode.strip_suffix(']')?.parse().ok()?;
            Some((inode, entry.file_name().to_str()?.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use khactl_sys::pidfd::PidFd;
    use std::net::UdpSocket;

    #[test]
    fn the_inodes_are_read_from_the_kernels_list() {
        let listed = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n\
                      ffff8881 3      3    0806   2     1 0      0      4711  \n\
                      ffff8882 3      10   86dd   2     1 0      0      4712  \n";
        assert_eq!(packet_inodes(listed), BTreeSet::from([4711, 4712]));
        assert_eq!(packet_inodes(""), BTreeSet::new());
    }

    #[test]
    fn a_socket_is_held_as_long_as_the_process_has_it() {
        let process = Path::new("/proc/self");
        let pidfd = PidFd::open(std::process::id()).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let inode = fstat(&socket).unwrap().st_ino;
        let mut spare = SpareSockets::default();
        spare.hold(process, &pidfd, &BTreeSet::from([inode]));
        assert_eq!(spare.held.keys().collect::<Vec<_>>(), [&inode]);
        spare.hold(process, &pidfd, &BTreeSet::new());
        assert!(spare.is_empty(), "it is no packet socket any more");
    }
}
