//! Reads /proc: who runs, since when, in which session, with which environment.
//!
//! Only reading: what is found here is a number, and a number may mean another process a moment
//! later. Whoever signals holds a pidfd and compares the start time after opening it.

use std::collections::BTreeSet;
use std::fs;
use std::io;

/// What /proc/PID/stat says of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stat {
    /// The program's short name, 15 bytes at the most.
    pub(crate) name: String,
    /// Neither a zombie nor dead.
    pub(crate) alive: bool,
    /// Session; equal to the process id in a session leader.
    pub(crate) session: u32,
    /// Clock ticks between boot and start; with the id it names a process of this boot.
    pub(crate) start_ticks: u64,
}

/// Every process id that there is now.
pub(crate) fn pids() -> io::Result<Vec<u32>> {
    Ok(fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

/// The process with that number now; `None` if there is none.
pub(crate) fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
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
        let stat = stat(pid)?;
        stat.alive.then_some((pid, stat.name))
    })
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name stands in parentheses and may itself hold spaces and parentheses (proc_pid_stat(5)).
    let (head, rest) = text.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Stat {
        name: name.to_owned(),
        // Field 3 of the manual page is the first one here.
        alive: !matches!(*fields.first()?, "Z" | "X" | "x"),
        session: fields.get(3)?.parse().ok()?,
        start_ticks: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_of_a_program_with_parentheses_in_its_name_is_read() {
        let text = "4242 (a) (b) c) Z 1 4242 4200 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 0 0";
        let stat = parse_stat(text).unwrap();
        assert_eq!(stat.name, "a) (b) c");
        assert_eq!(
            (stat.alive, stat.session, stat.start_ticks),
            (false, 4200, 987_654)
        );
        assert_eq!(parse_stat("4242 (cut"), None);
        assert_eq!(parse_stat("4242 (cut) R 1 2"), None);
    }

    #[test]
    fn own_process_is_found_alive_with_its_environment() {
        let pid = std::process::id();
        assert!(pids().unwrap().contains(&pid));
        assert!(stat(pid).unwrap().alive);
        assert!(environment(pid).iter().any(|(key, _)| key == "PATH"));
    }

    #[test]
    fn those_of_our_own_network_are_some_of_all_and_we_are_among_them() {
        let own = stat(std::process::id()).unwrap().name;
        assert!(names().contains(&own));
        assert!(names_in_own_network().contains(&own));
    }
}
