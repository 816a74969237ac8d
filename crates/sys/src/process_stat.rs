//! What the kernel says of a process in one line, /proc/PID/stat: the only place that takes it apart.
//!
//! Only reading: what is found here is of a number, and a number may mean another process a moment later. Whoever signals
//! holds a [`crate::pidfd::PidFd`] and compares the start after opening it.

use std::fs;

/// One line of /proc/PID/stat, as far as anybody asks for it (proc_pid_stat(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessStat {
    /// The program's short name, 15 bytes at the most.
    pub name: String,
    /// `R`, `S`, `D`, `T`, `Z`, …
    pub state: char,
    /// Session; equal to the process id in a session leader, 0 if it began outside of our process namespace.
    pub session: u32,
    /// Processor time spent so far, user's and system's, in clock ticks.
    pub spent_ticks: u64,
    /// From -20, which comes first, to 19.
    pub niceness: i32,
    /// Clock ticks between boot and start; with the id it names a process of this boot.
    pub start_ticks: u64,
}

impl ProcessStat {
    /// The process that has this number now; `None` if there is none.
    pub fn of(pid: u32) -> Option<Self> {
        Self::read(&format!("/proc/{pid}/stat"))
    }

    /// The same of one thread of it: the name, the state, the times and the niceness are the thread's own.
    pub fn of_thread(pid: u32, thread: u32) -> Option<Self> {
        Self::read(&format!("/proc/{pid}/task/{thread}/stat"))
    }

    /// Neither a zombie nor dead.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// It stands still after SIGSTOP.
    pub fn is_stopped(&self) -> bool {
        self.state == 'T'
    }

    fn read(path: &str) -> Option<Self> {
        // A name may hold any byte.
        Self::parse(&String::from_utf8_lossy(&fs::read(path).ok()?))
    }

    fn parse(line: &str) -> Option<Self> {
        // The name stands in parentheses and may itself hold spaces and parentheses.
        let (head, rest) = line.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        // Field 3 of the manual page is the first one here.
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |field: usize| -> Option<u64> { fields.get(field - 3)?.parse().ok() };
        Some(Self {
            name: name.to_owned(),
            state: fields.first()?.chars().next()?,
            session: fields.get(3)?.parse().ok()?,
            spent_ticks: ticks(14)?.saturating_add(ticks(15)?),
            niceness: fields.get(19 - 3)?.parse().ok()?,
            start_ticks: ticks(22)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_program_with_parentheses_in_its_name_is_read() {
        let line =
            "4242 (a) (b) c) Z 1 4242 4200 0 -1 4194304 1 2 3 4 250 50 7 8 10 -10 1 0 987654 0 0";
        let stat = ProcessStat::parse(line).unwrap();
        assert_eq!(stat.name, "a) (b) c");
        assert_eq!((stat.session, stat.start_ticks), (4200, 987_654));
        assert_eq!((stat.spent_ticks, stat.niceness), (300, -10));
        assert!(!stat.is_alive() && !stat.is_stopped());
        assert_eq!(ProcessStat::parse("4242 (cut"), None);
        assert_eq!(ProcessStat::parse("4242 (cut) R 1 2"), None);
    }

    #[test]
    fn who_stands_still_lives() {
        let line = "7 (sh) T 1 7 7 0 -1 4194560 100 0 0 0 0 0 3 4 20 0 1 0 99";
        let stat = ProcessStat::parse(line).unwrap();
        assert!(stat.is_alive() && stat.is_stopped());
    }

    #[test]
    fn this_process_is_found_alive_and_so_is_its_first_thread() {
        let pid = std::process::id();
        let process = ProcessStat::of(pid).unwrap();
        let thread = ProcessStat::of_thread(pid, pid).unwrap();
        assert!(process.is_alive() && thread.is_alive());
        assert!(process.start_ticks > 0);
        assert_eq!(thread.session, process.session);
        assert_eq!(ProcessStat::of(u32::MAX), None);
    }
}
