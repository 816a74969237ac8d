//! What happens in a child between fork and exec, where only system calls are allowed.
//!
//! It makes a child that can outlive its parent: a session of its own, none of the parent's
//! descriptors, and, where there is one, a cgroup of its own.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets the child of `command` start a session (and so a process group) of its own, close every
/// inherited descriptor above stderr at exec, and move itself into the cgroup whose `cgroup.procs`
/// is open for writing in `cgroup_procs`.
///
/// The move is the child's first act, so that no moment exists at which it runs its program in the
/// parent's cgroup. Being refused the move is not an error: the child then stays where it is.
pub fn detach(command: &mut Command, cgroup_procs: Option<OwnedFd>) {
    let act = move || {
        if let Some(procs) = &cgroup_procs {
            // SAFETY: the descriptor is owned by the closure and open; the buffer is a constant of
            // the given length. "0" stands for the writer itself (cgroups(7)). The kernel checks the
            // credentials of whoever opened the file, so it works after the change of user too.
            unsafe { libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1) };
        }
        // SAFETY: takes and changes no memory. It fails only for a group leader, which a freshly
        // forked child is not.
        if unsafe { libc::setsid() } == -1 {
            return Err(io::Error::last_os_error());
        }
        // Marked rather than closed: the standard library still reports a failed exec through a
        // descriptor of its own.
        // SAFETY: takes numbers only. The flag keeps every descriptor usable until exec.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_close_range,
                3 as libc::c_uint,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC as libc::c_uint,
            )
        };
        if answer == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: the closure makes three system calls and, on failure, an `io::Error` from an errno,
    // which does not allocate; all of that is async-signal-safe.
    unsafe { command.pre_exec(act) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::FromRawFd;
    use std::process::Stdio;

    #[test]
    fn detached_child_leads_a_session_of_its_own_and_inherits_no_descriptor() {
        let file = std::fs::File::open("/dev/null").unwrap();
        // SAFETY: `dup` gives a new descriptor (without CLOEXEC) that nothing else owns.
        let leaked = unsafe { OwnedFd::from_raw_fd(libc::dup(file.as_raw_fd())) };
        let mut command = Command::new("sh");
        command
            .args(["-c", "cut -d' ' -f1,5,6 /proc/$$/stat; ls /proc/$$/fd"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        detach(&mut command, None);
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        drop(leaked);
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines = text.lines();
        let ids: Vec<&str> = lines.next().unwrap().split(' ').collect();
        assert_eq!(ids[0], ids[1], "process group");
        assert_eq!(ids[0], ids[2], "session");
        assert_eq!(lines.collect::<Vec<_>>(), ["0", "1", "2"]);
    }
}
