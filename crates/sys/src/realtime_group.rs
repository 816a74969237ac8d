//! The real-time budget of the calling thread's cgroup. With real-time group scheduling a group of the old cpu hierarchy
//! has none unless it is given one, and then the kernel refuses real-time priority even to root.

use std::io;
use std::path::{Path, PathBuf};

/// Of each second, in microseconds: the lease thread takes less than a hundredth.
const BUDGET_US: u32 = 50_000;

const FILE: &str = "cpu.rt_runtime_us";

/// Gives the thread's group a budget, and those above it if they have none; does nothing where there are no such groups.
/// Fails with the kernel's reason if one of them may not be given any.
pub(crate) fn grant() -> io::Result<()> {
    // Of the thread, since each may be in a group of its own in this hierarchy.
    let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo")?;
    let groups = std::fs::read_to_string("/proc/thread-self/cgroup")?;
    for group in above_and_including(&mounts, &groups) {
        let file = group.join(FILE);
        match std::fs::read_to_string(&file) {
            Ok(text) if text.trim() == "0" => std::fs::write(&file, BUDGET_US.to_string())?,
            // It has one, or the kernel schedules without groups.
            _ => {}
        }
    }
    Ok(())
}

/// The folders of the thread's group in the old cpu hierarchy, from below the root down to its own.
fn above_and_including(mountinfo: &str, cgroup: &str) -> Vec<PathBuf> {
    let Some((mounted, root)) = mountinfo.lines().find_map(cpu_mount) else {
        return Vec::new();
    };
    let own = cgroup.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|c| c == "cpu").then_some(path)
    });
    let Some(own) = own.and_then(|own| Path::new(own).strip_prefix(root).ok()) else {
        return Vec::new();
    };
    let mut folder = PathBuf::from(mounted);
    let parts = own.iter().filter(|part| *part != "/");
    parts
        .map(|part| {
            folder.push(part);
            folder.clone()
        })
        .collect()
}

/// Where the old cpu hierarchy is mounted, and which group of it (proc_pid_mountinfo(5)).
fn cpu_mount(line: &str) -> Option<(&str, &str)> {
    let (about, kind) = line.split_once(" - ")?;
    let mut kind = kind.split(' ');
    let is_cgroup = kind.next() == Some("cgroup");
    let options = kind.nth(1)?;
    let mut about = about.split(' ').skip(3);
    let (root, mounted) = (about.next()?, about.next()?);
    (is_cgroup && options.split(',').any(|option| option == "cpu")).then_some((mounted, root))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n";

    #[test]
    fn every_group_above_the_threads_own_is_found_from_the_top() {
        let groups = "5:cpuset:/x\n4:cpu,cpuacct:/system.slice/khad.service\n0::/y\n";
        let found = above_and_including(MOUNTS, groups);
        let cpu = Path::new("/sys/fs/cgroup/cpu,cpuacct");
        assert_eq!(
            found,
            [
                cpu.join("system.slice"),
                cpu.join("system.slice/khad.service")
            ]
        );
    }

    #[test]
    fn a_part_of_the_hierarchy_that_is_mounted_alone_counts_from_there() {
        let mounts = "32 31 0:29 /pod /cpu rw - cgroup cgroup rw,cpu\n";
        let found = above_and_including(mounts, "4:cpu:/pod/inner\n");
        assert_eq!(found, [Path::new("/cpu/inner")]);
    }

    #[test]
    fn the_root_and_the_unified_hierarchy_need_nothing() {
        assert!(above_and_including(MOUNTS, "4:cpu,cpuacct:/\n").is_empty());
        let unified = "32 31 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert!(above_and_including(unified, "0::/khactl/khavip\n").is_empty());
    }
}
