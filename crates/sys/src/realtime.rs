//! Being scheduled at once and never waiting for a page: asked for, and told honestly if refused.

use std::io;

use crate::realtime_group;
use rustix::mm::{MlockAllFlags, mlockall};

/// What the kernel answered to a request that a host may not permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permit {
    /// In force.
    Granted,
    /// Not permitted on this host; the text says by what, for `preflight` and `status`.
    Refused(String),
}

impl Permit {
    /// Whether it is in force.
    pub fn is_granted(&self) -> bool {
        matches!(self, Self::Granted)
    }
}

/// Puts the calling thread under `SCHED_FIFO` with `priority` (1–99).
///
/// On kernels with real-time group scheduling it also needs `cpu.rt_runtime_us` in the thread's cpu cgroup, without which
/// the kernel answers EPERM even to root; then the group is given some, if this process may.
pub fn fifo_thread(priority: i32) -> Permit {
    let mut refusal = match set_fifo(priority) {
        Ok(()) => return Permit::Granted,
        Err(refusal) => refusal,
    };
    let mut group = String::new();
    if refusal.kind() == io::ErrorKind::PermissionDenied {
        match realtime_group::grant() {
            Ok(()) => match set_fifo(priority) {
                Ok(()) => return Permit::Granted,
                Err(again) => refusal = again,
            },
            Err(error) => group = format!(", which cannot be set: {error}"),
        }
    }
    Permit::Refused(format!(
        "SCHED_FIFO priority {priority}: {refusal}; it needs CAP_SYS_NICE and cpu.rt_runtime_us in the process's cpu cgroup{group}"
    ))
}

fn set_fifo(priority: i32) -> io::Result<()> {
    // SAFETY: `sched_param` is plain data for which all zeroes is valid.
    let mut param: libc::sched_param = unsafe { std::mem::zeroed() };
    param.sched_priority = priority;
    // SAFETY: `param` lives through the call; pid 0 means the calling thread. Threads and children
    // started later fall back to the normal class because of RESET_ON_FORK.
    let answer = unsafe {
        libc::sched_setscheduler(
            0,
            libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK,
            &raw const param,
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Locks every page into memory as it is first touched (`mlockall` with `MCL_ONFAULT`, without
/// which every thread's whole stack would be made resident).
pub fn lock_memory() -> Permit {
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    match mlockall(flags) {
        Ok(()) => Permit::Granted,
        Err(errno) => Permit::Refused(format!(
            "mlockall: {}; it needs CAP_IPC_LOCK or a larger RLIMIT_MEMLOCK",
            io::Error::from(errno)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_priority_is_refused_with_its_reason() {
        let Permit::Refused(reason) = fifo_thread(1000) else {
            panic!("priority 1000 does not exist");
        };
        assert!(reason.contains("SCHED_FIFO priority 1000"), "{reason}");
    }

    #[test]
    fn a_thread_under_fifo_is_reported_by_the_kernel() {
        // Which answer comes depends on the host; that the kernel agrees with it does not.
        std::thread::spawn(|| {
            let permit = fifo_thread(1);
            // SAFETY: takes a number and returns one.
            let class = unsafe { libc::sched_getscheduler(0) } & !libc::SCHED_RESET_ON_FORK;
            assert_eq!(permit.is_granted(), class == libc::SCHED_FIFO);
        })
        .join()
        .unwrap();
    }
}
