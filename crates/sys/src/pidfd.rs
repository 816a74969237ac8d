//! A process held by a descriptor: unlike a number, it never comes to mean another process.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process descriptor (`pidfd_open(2)`), readable once the process has ended.
#[derive(Debug)]
pub struct PidFd {
    fd: OwnedFd,
    pid: u32,
}

impl PidFd {
    /// Opens the process that has the number `pid` now. `NotFound` if there is none.
    ///
    /// The caller has to compare the start time *after* this, to be sure which process it got.
    pub fn open(pid: u32) -> io::Result<Self> {
        let number = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a process id"))?;
        match pidfd_open(number, PidfdFlags::NONBLOCK) {
            Ok(fd) => Ok(Self { fd, pid }),
            Err(rustix::io::Errno::SRCH) => Err(io::ErrorKind::NotFound.into()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The number it was opened by.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The same descriptor once more, to wait on elsewhere.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// Sends a signal to this very process. `false` if it has ended already.
    pub fn send(&self, signal: Signal) -> io::Result<bool> {
        match pidfd_send_signal(&self.fd, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether the process has ended (it may still be a zombie).
    pub fn has_ended(&self) -> io::Result<bool> {
        self.wait(Duration::ZERO)
    }

    /// Blocks until the process has ended, `timeout` at the most; says whether it has.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        let timeout = Timespec::try_from(timeout)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "timeout too long"))?;
        loop {
            match poll(&mut fds, Some(&timeout)) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for PidFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn pidfd_tells_a_running_process_from_one_that_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let fd = PidFd::open(child.id()).unwrap();
        assert!(!fd.has_ended().unwrap());
        assert!(fd.send(Signal::KILL).unwrap());
        assert!(fd.wait(Duration::from_secs(10)).unwrap());
        child.wait().unwrap();
        assert!(!fd.send(Signal::KILL).unwrap(), "reaped: nothing to signal");
    }

    #[test]
    fn no_process_is_not_found() {
        // Above the kernel's largest possible pid (2^22).
        let error = PidFd::open(1 << 23).unwrap_err();
        assert!(matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::InvalidInput
        ));
        assert!(PidFd::open(0).is_err());
    }
}
