//! Second descriptors of another process' packet sockets: found, followed, and let go of.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use khactl_agent::spare_sockets::SpareSockets;
use khactl_sys::packet::frame_socket;
use khactl_sys::pidfd::PidFd;

/// Tells this program that it is the other process.
const ROLE: &str = "KHACTL_TEST_HAS_PACKET_SOCKETS";
const LOOPBACK: u32 = 1;

/// Another process, which does its next step when it is told.
struct Other {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Other {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_other_process", "--nocapture"])
            .env(ROLE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        }
    }

    /// Waits until it says that its step is done.
    fn done(&mut self) {
        let mut line = String::new();
        while !line.trim_end().ends_with("done") {
            line.clear();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "it ended");
        }
    }

    fn next(&mut self) {
        writeln!(self.stdin, "go on").unwrap();
        self.done();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// No test: the other process of the one below, which starts it.
#[test]
fn the_other_process() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let told = || {
        println!("done");
        std::io::stdin().read_line(&mut String::new()).unwrap();
    };
    let first = frame_socket(LOOPBACK).unwrap();
    let _second = frame_socket(LOOPBACK).unwrap();
    told();
    drop(first);
    told();
    let _third = frame_socket(LOOPBACK).unwrap();
    told();
}

#[test]
fn the_packet_sockets_of_another_process_are_held_as_long_as_it_has_them() {
    let mut other = Other::start();
    other.done();
    let pid = other.child.id();
    let pidfd = PidFd::open(pid).unwrap();
    let mut spare = SpareSockets::default();
    spare.follow(pid, &pidfd);
    assert_eq!(spare.len(), 2, "and nothing else of what it has open");
    spare.follow(pid, &pidfd);
    assert_eq!(spare.len(), 2, "nothing has changed");
    // The one that was closed is still there by its second descriptor; a change shows it.
    other.next();
    other.next();
    spare.follow(pid, &pidfd);
    assert_eq!(spare.len(), 2, "one of them is another one");
    drop(other);
    spare.follow(pid, &pidfd);
    assert!(spare.is_empty(), "it has ended");
}
