//! Who answered for the VIP in the course of a fault, and whether the fault means it so. Pure.

use std::time::Duration;

use super::fault::{Fault, Then};

/// A host answered for the VIP, without a silence that would count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    /// Its name, or the MAC of a machine that is no host.
    pub(super) host: String,
    /// Its first answer.
    pub(super) from: Duration,
    /// Its last answer.
    pub(super) to: Duration,
}

/// One fault, from the moment when it happened until all was well again.
#[derive(Debug)]
pub(super) struct Course<'a> {
    pub(super) fault: Fault,
    /// Who held the VIP when it happened.
    pub(super) struck: &'a str,
    /// Who answered from then on, in the order in which they began.
    pub(super) turns: &'a [Turn],
    /// When it was mended.
    pub(super) mended: Duration,
    /// Who held the VIP when all was well again.
    pub(super) last: &'a str,
}

impl Course<'_> {
    /// What is not as the fault means it, in words.
    pub(super) fn complaint(&self) -> Option<String> {
        match self.fault.then() {
            Then::Stays => self.left(),
            Then::Moves => self.kept(),
            Then::Anywhere => None,
        }
    }

    /// Whether the lease that ran when the fault happened still did at a moment: its holder has answered since, while the
    /// fault lasted.
    pub(super) fn lease_ran_at(&self, at: Duration) -> bool {
        self.turns
            .iter()
            .any(|turn| turn.host == self.struck && turn.from < self.mended && turn.to >= at)
    }

    /// It should have stayed all the while.
    fn left(&self) -> Option<String> {
        let struck = self.struck;
        if let Some(other) = self.first_other() {
            return Some(format!("the VIP left {struck}: {} answered", other.host));
        }
        (self.last != struck).then(|| format!("the VIP left {struck} for {}", self.last))
    }

    /// Another one should have had it while the fault lasted, and kept it.
    fn kept(&self) -> Option<String> {
        let struck = self.struck;
        let Some(moved) = self
            .first_other()
            .map(|turn| turn.from)
            .filter(|at| *at < self.mended)
        else {
            return Some(format!("nobody but {struck} answered while it lasted"));
        };
        let again =
            |turn: &Turn| turn.host == struck && turn.from > moved && turn.from < self.mended;
        if self.turns.iter().any(again) {
            return Some(format!("{struck} answered again while it lasted"));
        }
        (self.last == struck && !self.fault.may_return())
            .then(|| format!("{struck} has the VIP again, and nobody prefers it"))
    }

    fn first_other(&self) -> Option<&Turn> {
        self.turns.iter().find(|turn| turn.host != self.struck)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(host: &str, from_ms: u64, to_ms: u64) -> Turn {
        Turn {
            host: host.to_owned(),
            from: Duration::from_millis(from_ms),
            to: Duration::from_millis(to_ms),
        }
    }

    /// The fault befalls `a` at 0 ms and is mended at 1000 ms.
    fn complaint(fault: Fault, turns: &[(&str, u64)], last: &str) -> Option<String> {
        let turns: Vec<_> = turns
            .iter()
            .map(|(host, from_ms)| turn(host, *from_ms, *from_ms))
            .collect();
        Course {
            fault,
            struck: "a",
            turns: &turns,
            mended: Duration::from_secs(1),
            last,
        }
        .complaint()
    }

    #[test]
    fn what_stays_may_be_silent_for_a_while_and_nobody_else_may_answer() {
        let fault = Fault::KhadKilled;
        assert_eq!(complaint(fault, &[("a", 0), ("a", 60)], "a"), None);
        let wrong: [&[(&str, u64)]; 3] = [
            &[("a", 0), ("b", 50)],
            &[("a", 0), ("b", 50), ("a", 300)],
            &[("a", 0), ("b", 1500), ("a", 1700)],
        ];
        for turns in wrong {
            assert!(complaint(fault, turns, "a").is_some(), "{turns:?}");
        }
        assert!(complaint(fault, &[("a", 0)], "b").is_some());
    }

    #[test]
    fn what_moves_is_held_by_another_one_before_it_is_mended_and_not_again_by_the_first() {
        let fault = Fault::BothStopped;
        assert_eq!(complaint(fault, &[("a", 0), ("b", 240)], "b"), None);
        let wrong: [(&[(&str, u64)], &str); 4] = [
            (&[("a", 0)], "a"),
            (&[("a", 0), ("b", 1001)], "b"),
            (&[("a", 0), ("b", 240), ("a", 800)], "b"),
            (&[("a", 0), ("b", 240), ("a", 1500)], "a"),
        ];
        for (turns, last) in wrong {
            assert!(complaint(fault, turns, last).is_some(), "{turns:?}");
        }
    }

    #[test]
    fn who_was_cut_off_may_have_it_again_after_the_heal_and_not_before() {
        let fault = Fault::CutOff;
        let after = [("a", 0), ("b", 240), ("a", 1500)];
        assert_eq!(complaint(fault, &after, "a"), None);
        let before = [("a", 0), ("b", 240), ("a", 800)];
        assert!(complaint(fault, &before, "a").is_some());
    }

    #[test]
    fn a_lease_ran_until_its_holders_last_answer_before_the_heal() {
        let turns = [
            turn("a", 0, 220),
            turn("b", 240, 2000),
            turn("a", 1500, 2000),
        ];
        let course = Course {
            fault: Fault::VoterRestarted,
            struck: "a",
            turns: &turns,
            mended: Duration::from_secs(1),
            last: "a",
        };
        let ran_at = |ms| course.lease_ran_at(Duration::from_millis(ms));
        assert!(ran_at(90) && ran_at(220) && !ran_at(221));
    }

    #[test]
    fn what_may_be_anywhere_is_never_complained_of() {
        let turns = [("a", 0), ("b", 20), ("a", 500)];
        assert_eq!(complaint(Fault::KhavipKilled, &turns, "a"), None);
    }
}
