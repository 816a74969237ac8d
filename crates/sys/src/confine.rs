//! What a child gives up between fork and exec, where only system calls are allowed: root, every capability that it
//! could ever get back, and new privileges by whatever it executes.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Above the highest capability there is, or will be: the kernel counts them in 64 bits.
const CAPABILITIES_MAX: libc::c_ulong = 64;

/// What a child may be and have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confinement {
    /// The user and group that it becomes, with no other group and with an empty bounding set: neither a file's
    /// capabilities nor a set-user-id bit give it any again. `None`: it stays who its parent is.
    pub user: Option<(u32, u32)>,
    /// Descriptors that it may have open, as its soft and its hard limit; fewer where the kernel allows no more.
    pub files_max: u64,
}

/// Confines the child of `command`. Do not set a user on `command` itself: the standard library changes it before
/// anything could be given up.
///
/// The child is not started if it cannot become that user. That a limit or the bounding set cannot be changed (the
/// parent is not root) is no error.
pub fn confine(command: &mut Command, confinement: Confinement) {
    let act = move || {
        let limit = libc::rlimit {
            rlim_cur: confinement.files_max,
            rlim_max: confinement.files_max,
        };
        // SAFETY: the kernel reads the structure, which lives until the call has returned.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == -1 {
            // Without CAP_SYS_RESOURCE as many as the inherited hard limit allows.
            let mut inherited = limit;
            // SAFETY: the kernel writes into the structure, which lives until the call has returned.
            unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut inherited) };
            inherited.rlim_cur = inherited.rlim_max.min(confinement.files_max);
            // SAFETY: as above. Refused, the limit stays as it was inherited.
            unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const inherited) };
        }
        if let Some((user, group)) = confinement.user {
            for capability in 0..CAPABILITIES_MAX {
                // SAFETY: takes numbers only. It fails beyond the last capability, and without CAP_SETPCAP.
                unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
            }
            // SAFETY: a length of 0 with no list; the child has one thread, so that the C library tells no other.
            if unsafe { libc::setgroups(0, std::ptr::null()) } == -1 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: takes numbers only.
            if unsafe { libc::setgid(group) } == -1 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: takes a number only. Last: from here on nothing else could be given up.
            if unsafe { libc::setuid(user) } == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        // SAFETY: takes numbers only. Every kernel since 3.5 has it.
        if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls and, on failure, an `io::Error` from an errno, which does not allocate;
    // all of that is async-signal-safe.
    unsafe { command.pre_exec(act) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    #[test]
    fn confined_child_gets_no_new_privileges_and_has_its_limit() {
        let mut command = Command::new("sh");
        command
            .args(["-c", "grep NoNewPrivs /proc/self/status; ulimit -n"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        confine(
            &mut command,
            Confinement {
                user: None,
                files_max: 100,
            },
        );
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            text.split_whitespace().collect::<Vec<_>>(),
            ["NoNewPrivs:", "1", "100"]
        );
    }
}
