//! A network of one thread's own, with a loopback and nothing else, which is gone with the thread.

use std::io;
use std::panic::resume_unwind;

/// Does `work` on a thread that has such a network, and waits for it.
///
/// Needs CAP_SYS_ADMIN. The error is the kernel's refusal of the network; a panic of `work` goes on here.
pub fn within_own_network<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: takes a number only, and changes nothing but the calling thread's network.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(work())
        });
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interfaces::list;

    #[test]
    fn there_is_a_loopback_and_nothing_else_and_the_caller_stays_where_it_was() {
        let before = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        // Which of both depends on the host.
        if let Ok(found) = within_own_network(list) {
            let names: Vec<String> = found.unwrap().into_iter().map(|found| found.name).collect();
            assert!(names.iter().all(|name| name == "lo"), "{names:?}");
        }
        let after = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        assert_eq!(before, after);
    }
}
