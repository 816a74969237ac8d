//! A cgroup for each component, where the kernel lets us make one. Without it components run in
//! their process groups all the same.

use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Where the unified hierarchy is mounted: alone, or beside the old ones.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// Makes the cgroup `khactl/NAME` below the root of the unified hierarchy, outside of any service's,
/// and opens its `cgroup.procs` for a child to move itself there. `None` where that is not possible.
pub(crate) fn prepare(name: &str) -> Option<OwnedFd> {
    let folder = root()?.join("khactl").join(name);
    fs::create_dir_all(&folder).ok()?;
    let procs = OpenOptions::new()
        .write(true)
        .open(folder.join("cgroup.procs"))
        .ok()?;
    Some(procs.into())
}

/// Removes the cgroup if nothing is in it.
pub(crate) fn forget(name: &str) {
    if let Some(root) = root() {
        // Refused while a process is in it, and no harm if it stays.
        let _ = fs::remove_dir(root.join("khactl").join(name));
    }
}

/// Removes the folder of all of them, unless another supervisor on this machine has one there.
pub(crate) fn forget_parent() {
    if let Some(root) = root() {
        // Refused while there is one.
        let _ = fs::remove_dir(root.join("khactl"));
    }
}

fn root() -> Option<PathBuf> {
    // `cgroup.procs` alone is in the old hierarchies too.
    ROOTS
        .into_iter()
        .map(PathBuf::from)
        .find(|root| root.join("cgroup.controllers").exists())
}
