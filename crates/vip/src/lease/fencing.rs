//! The fence on the lease thread: gives the decision its time and its answers, and kills what it names. Neither allocates
//! nor waits, but for the write of a few bytes to tmpfs.

use khactl_lease::Configuration;

use super::clock::boottime_ns;
use super::contact_file::ContactFile;
use crate::fence::{Fence, FenceView, FencedProcess, ProcessId};

/// The decision with the processes it is about.
pub(super) struct Fencing {
    decision: Fence,
    processes: Box<[FencedProcess]>,
    contact_file: ContactFile,
}

impl Fencing {
    pub(super) fn new(decision: Fence, contact_file: ContactFile) -> Self {
        Self {
            decision,
            processes: Box::default(),
            contact_file,
        }
    }

    /// Whose majority counts.
    pub(super) fn feed(&mut self, members: Configuration, confirmed: bool) {
        self.decision.feed(members, confirmed, boottime_ns());
    }

    /// These are fenced from now on. What is overdue among them ends before anybody can learn that they are.
    pub(super) fn guard(&mut self, processes: Box<[FencedProcess]>) {
        let ids = processes.iter().map(|process| process.id);
        self.decision.guard(ids, boottime_ns());
        self.processes = processes;
        self.enforce();
    }

    /// Kills what must not go on without a majority.
    pub(super) fn enforce(&mut self) {
        let now = boottime_ns();
        for (place, id) in self.decision.overdue(now) {
            self.kill(place, id, now);
        }
    }

    /// Kills what is armed, be its time come or not: nobody is there any more to do it then.
    pub(super) fn give_up(&mut self) {
        let now = boottime_ns();
        for (place, id) in self.decision.armed() {
            self.kill(place, id, now);
        }
    }

    fn kill(&mut self, place: usize, id: ProcessId, now: u64) {
        let process = self.processes.iter().find(|process| process.id == id);
        let done = process.is_none_or(FencedProcess::kill);
        self.decision.fired(place, done, now);
    }

    /// The number of a question that is due, for every other member.
    pub(super) fn ask(&mut self) -> Option<u64> {
        self.decision.ask(boottime_ns())
    }

    /// Any answer says that the way to that member and back is open; what it says of the lease is not looked at.
    pub(super) fn answered(&mut self, from: u64, seq: u64, now: u64) {
        self.decision.answered(from, seq, now);
    }

    /// The earliest time at which there is something to do.
    pub(super) fn wake(&self) -> u64 {
        self.decision.wake()
    }

    /// What there is to tell. What was told is also what a process after this one finds.
    pub(super) fn tell(&mut self) -> FenceView {
        let view = self.decision.view();
        self.contact_file.note(view.contact);
        view
    }
}

impl Drop for Fencing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.give_up();
        }
    }
}
