//! One process that is fenced: held by a descriptor, and certain to be the one that was meant.

use std::io;

use khactl_sys::pidfd::PidFd;
use khactl_sys::process_stat::ProcessStat;
use rustix::process::Signal;

/// Names a process of this boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessId {
    /// Its number, which may be given to another one after its end.
    pub pid: u32,
    /// Clock ticks between boot and its start.
    pub start_ticks: u64,
}

/// A descriptor of exactly that process.
#[derive(Debug)]
pub(crate) struct FencedProcess {
    pub(crate) id: ProcessId,
    descriptor: PidFd,
}

impl FencedProcess {
    /// `None` if it has ended, whoever has its number now.
    pub(crate) fn open(id: ProcessId) -> io::Result<Option<Self>> {
        let descriptor = match PidFd::open(id.pid) {
            Ok(descriptor) => descriptor,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // In this order: the descriptor means what the number meant before this look at the start.
        let meant = ProcessStat::of(id.pid).is_some_and(|stat| stat.start_ticks == id.start_ticks);
        Ok(meant.then_some(Self { id, descriptor }))
    }

    /// SIGKILL; neither waits nor allocates. True if it has ended or is about to.
    pub(crate) fn kill(&self) -> bool {
        self.descriptor.send(Signal::KILL).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> (Child, ProcessId) {
        let child = Command::new("sleep").arg("60").spawn().expect("starts");
        let id = ProcessId {
            pid: child.id(),
            start_ticks: ProcessStat::of(child.id()).expect("runs").start_ticks,
        };
        (child, id)
    }

    #[test]
    fn the_process_that_is_meant_is_killed() {
        let (mut child, id) = sleeper();
        let process = FencedProcess::open(id).expect("opens").expect("runs");
        assert!(process.kill());
        assert!(!child.wait().expect("waited for").success());
        assert!(process.kill(), "one that has ended needs no more");
        assert!(FencedProcess::open(id).expect("looks").is_none());
    }

    #[test]
    fn whoever_has_its_number_later_is_not_meant() {
        let (mut child, id) = sleeper();
        let earlier = ProcessId {
            start_ticks: id.start_ticks - 1,
            ..id
        };
        assert!(FencedProcess::open(earlier).expect("looks").is_none());
        child.kill().expect("killed");
        child.wait().expect("waited for");
    }
}
