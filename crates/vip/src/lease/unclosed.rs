//! A gate that did not close when it should: until when it may let packets pass, and when to close it once more. It
//! closes nothing itself. Until then nothing is released (P9, K2) and nobody is answered: this host's own acceptor takes
//! the lease for free already, and together with one that never heard of it would make a majority for somebody else.

use khactl_lease::T_MAX;

/// Between two tries: the kernel's answer takes some microseconds, and the thread has other work.
pub(super) const AGAIN: u64 = 1_000_000;

/// Nothing, or the deadline that the gate has in the kernel. Times are nanoseconds of `CLOCK_BOOTTIME`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unclosed {
    until: u64,
    next: u64,
}

impl Unclosed {
    /// At the start: whatever a process before this one left open runs out by then.
    pub(super) fn inherited(now: u64) -> Self {
        Self {
            until: now.saturating_add(T_MAX),
            next: now,
        }
    }

    /// It was closed just now, or it was not and may be open until then.
    pub(super) fn tried(&mut self, closed: bool, open_until: u64, now: u64) {
        if closed {
            *self = Self::default();
        } else {
            self.until = self.until.max(open_until);
            self.next = now.saturating_add(AGAIN);
        }
    }

    /// It was given a new deadline, which is no concern of the old one any more.
    pub(super) fn opened(&mut self) {
        *self = Self::default();
    }

    /// Packets may pass against the machine's will.
    pub(super) fn is_pending(&self, now: u64) -> bool {
        now < self.until
    }

    /// When to try again; never once the deadline has passed, or if it is closed.
    pub(super) fn next(&self) -> u64 {
        if self.next < self.until {
            self.next
        } else {
            u64::MAX
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_tried_again_until_it_is_closed_or_its_deadline_has_passed() {
        let mut unclosed = Unclosed::default();
        assert_eq!(unclosed.next(), u64::MAX);
        unclosed.tried(false, 5_500_000, 1_000_000);
        let mut tried = Vec::new();
        while unclosed.next() < u64::MAX {
            tried.push(unclosed.next());
            unclosed.tried(false, 0, unclosed.next());
        }
        assert_eq!(tried, [2_000_000, 3_000_000, 4_000_000, 5_000_000]);
        assert!(unclosed.is_pending(5_499_999) && !unclosed.is_pending(5_500_000));
        unclosed.tried(false, 9_000_000, 6_000_000);
        assert_eq!(unclosed.next(), 7_000_000);
        unclosed.tried(true, 0, 7_000_000);
        assert_eq!(unclosed.next(), u64::MAX);
    }

    #[test]
    fn what_another_process_left_open_counts_until_its_longest_deadline() {
        let mut unclosed = Unclosed::inherited(50);
        assert_eq!(unclosed.next(), 50);
        unclosed.tried(false, 0, 50);
        assert_eq!(unclosed.next(), 50 + AGAIN);
        unclosed.tried(false, 0, 50 + T_MAX);
        assert_eq!(unclosed.next(), u64::MAX);
    }
}
