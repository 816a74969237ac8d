//! When the lease thread wakes: one timer of absolute `CLOCK_BOOTTIME`, so that a suspend does not stop it.

use std::io;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

const NS: u64 = 1_000_000_000;

/// Readable once its time has come.
pub(super) struct Timer(OwnedFd);

impl Timer {
    /// Not set.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Self(timerfd_create(TimerfdClockId::Boottime, flags)?))
    }

    /// An absolute time in nanoseconds; setting it again also forgets an expiry that was not read.
    pub(super) fn set(&self, boottime_ns: u64) -> io::Result<()> {
        // All zero would disarm it.
        let at = boottime_ns.clamp(1, i64::MAX.cast_unsigned());
        let it_value = Timespec {
            tv_sec: (at / NS).cast_signed(),
            tv_nsec: i64::try_from(at % NS).unwrap_or(0),
        };
        let it_interval = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let wanted = Itimerspec {
            it_interval,
            it_value,
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &wanted)?;
        Ok(())
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
