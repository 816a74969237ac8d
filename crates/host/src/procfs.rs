//! Reads /proc: who runs, with which environment, in which network.
//!
//! Only reading: what is found here is a number, and a number may mean another process a moment
//! later. Whoever signals holds a pidfd and compares the start time after opening it.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use khactl_sys::process_stat::ProcessStat;

/// Every process id that there is now.
pub(crate) fn pids() -> io::Result<Vec<u32>> {
    Ok(fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

/// The environment that the process was started with; empty for zombies and for those that are
/// none of ours to read.
pub(crate) fn environment(pid: u32) -> Vec<(String, String)> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    bytes
        .split(|byte| *byte == 0)
        .filter_map(|entry| {
            let (key, value) = std::str::from_utf8(entry).ok()?.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        })
        .collect()
}

/// The short names of the processes that live.
pub(crate) fn names() -> BTreeSet<String> {
    living().map(|(_, name)| name).collect()
}

/// The same of those that have this process's network; others hold none of its addresses and ports.
pub(crate) fn names_in_own_network() -> BTreeSet<String> {
    let own = fs::read_link("/proc/self/ns/net").ok();
    living()
        .filter(|(pid, _)| {
            own.is_some() && fs::read_link(format!("/proc/{pid}/ns/net")).ok() == own
        })
        .map(|(_, name)| name)
        .collect()
}

fn living() -> impl Iterator<Item = (u32, String)> {
    pids().unwrap_or_default().into_iter().filter_map(|pid| {
        let stat = ProcessStat::of(pid)?;
        stat.is_alive().then_some((pid, stat.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_is_found_with_its_environment() {
        let pid = std::process::id();
        assert!(pids().unwrap().contains(&pid));
        assert!(environment(pid).iter().any(|(key, _)| key == "PATH"));
    }

    #[test]
    fn those_of_our_own_network_are_some_of_all_and_we_are_among_them() {
        let own = ProcessStat::of(std::process::id()).unwrap().name;
        assert!(names().contains(&own));
        assert!(names_in_own_network().contains(&own));
    }
}
