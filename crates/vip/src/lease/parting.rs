//! A hand-over that was wished for while clients are let go: it waits for that, so that what tells them leaves by a gate
//! that is still open. The host holds and renews meanwhile as ever, and P9 begins only when the waiting is over; thus
//! nothing depends on how long it takes, but how long the VIP is without an answer.

/// The longest that clients are waited for, in nanoseconds. Some tens of microseconds reset a client: this is for a
/// hundred, and leaves of a move's ten milliseconds enough for the hand-over itself.
const PATIENCE: u64 = 3_000_000;

/// What is to be done when the waiting is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaving {
    /// Whom the lease is for; none: whoever is first.
    pub(super) successor: Option<u64>,
    /// The thread ends with it.
    pub(super) end: bool,
}

/// At most one waits. Times are nanoseconds of `CLOCK_BOOTTIME`.
#[derive(Debug, Default)]
pub(super) struct Parting {
    leaving: Option<Leaving>,
    until: u64,
}

impl Parting {
    /// One more wish. The first decides how long is waited, the latest that names a successor for whom.
    pub(super) fn wish(&mut self, leaving: Leaving, now: u64) {
        self.leaving = match self.leaving {
            None => {
                self.until = now.saturating_add(PATIENCE);
                Some(leaving)
            }
            Some(before) => Some(Leaving {
                successor: leaving.successor.or(before.successor),
                end: leaving.end || before.end,
            }),
        };
    }

    /// What is to be done now. Only a holder has clients to wait for.
    pub(super) fn due(&mut self, holding: bool, in_farewell: bool, now: u64) -> Option<Leaving> {
        if holding && in_farewell && now < self.until {
            return None;
        }
        self.leaving.take()
    }

    /// When to look again; never if nothing waits.
    pub(super) fn next(&self) -> u64 {
        self.leaving.map_or(u64::MAX, |_| self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO_TWO: Leaving = Leaving {
        successor: Some(2),
        end: false,
    };

    #[test]
    fn a_hand_over_waits_for_the_farewell_of_the_clients_and_no_longer_than_its_patience() {
        let mut parting = Parting::default();
        assert_eq!(parting.next(), u64::MAX);
        assert_eq!(parting.due(true, true, 5), None);
        parting.wish(TO_TWO, 5);
        assert_eq!(parting.next(), 5 + PATIENCE);
        assert_eq!(parting.due(true, true, 4 + PATIENCE), None);
        assert_eq!(parting.due(true, true, 5 + PATIENCE), Some(TO_TWO));
        assert_eq!(parting.next(), u64::MAX);
        parting.wish(TO_TWO, 6 + PATIENCE);
        assert_eq!(parting.due(true, true, 6 + PATIENCE), None);
        assert_eq!(parting.due(true, false, 7 + PATIENCE), Some(TO_TWO));
        assert_eq!(parting.due(true, false, 8 + PATIENCE), None, "once");
    }

    #[test]
    fn who_does_not_hold_and_who_lets_nobody_go_waits_for_nothing() {
        let mut parting = Parting::default();
        parting.wish(TO_TWO, 0);
        assert_eq!(parting.due(false, true, 0), Some(TO_TWO));
        parting.wish(TO_TWO, 0);
        assert_eq!(parting.due(true, false, 0), Some(TO_TWO));
    }

    #[test]
    fn an_end_that_comes_meanwhile_keeps_the_successor_and_the_deadline() {
        let mut parting = Parting::default();
        parting.wish(TO_TWO, 0);
        let end = Leaving {
            successor: None,
            end: true,
        };
        parting.wish(end, 1_000);
        assert_eq!(parting.next(), PATIENCE);
        let both = Leaving {
            successor: Some(2),
            end: true,
        };
        assert_eq!(parting.due(true, true, PATIENCE), Some(both));
    }
}
