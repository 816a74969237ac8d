//! Whether somebody else has the VIP: asked before this process first claims it, and again while the answer was yes. It
//! decides when to ask and what the answers mean; it neither sends nor receives.
//!
//! ```text
//!   ┌────────┐ three questions, nobody answers  ┌──────┐
//!   │ Asking ├─────────────────────────────────►│ Free │
//!   └─▲────┬─┘                                  └──┬───┘
//!     │    │ a stranger answered                   │ a stranger claims it
//!     │    ▼                                       │
//!     │  ┌───────┐◄────────────────────────────────┘
//!     └──┤ InUse │
//!        └───────┘ asked again after 1, 2, 4 … 30 s
//! ```

use std::time::Duration;

use crate::address::announcement::Mac;

/// Shorter than RFC 5227's seconds: these are hosts on one switch, and a host that is asking does not serve.
const BETWEEN: Duration = Duration::from_millis(100);
const QUESTIONS: u32 = 3;

const AGAIN_FIRST: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// What is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not yet anything.
    Asking,
    /// Nobody but the cluster's own hosts has it.
    Free,
    /// This stranger has it.
    InUse(Mac),
}

/// One address.
#[derive(Debug)]
pub(crate) struct Inquiry {
    verdict: Verdict,
    /// Questions that have been asked in this round; none is under way if it is `None`.
    asked: Option<u32>,
    /// A stranger that answered in this round.
    found: Option<Mac>,
    next: Duration,
    again: Duration,
}

impl Inquiry {
    /// Asks at once. Times are of `CLOCK_MONOTONIC`.
    pub(crate) fn begin(now: Duration) -> Self {
        Self {
            verdict: Verdict::Asking,
            asked: Some(0),
            found: None,
            next: now,
            again: AGAIN_FIRST,
        }
    }

    /// A stranger claims the address. True if that is news.
    pub(crate) fn claimed(&mut self, by: Mac, now: Duration) -> bool {
        let news = self.verdict != Verdict::InUse(by);
        if self.asked.is_some() {
            self.found = Some(by);
        } else if self.verdict == Verdict::Free {
            self.next = now + self.again;
        }
        self.verdict = Verdict::InUse(by);
        news
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// When to call [`Self::is_due`]; none while there is nothing to ask.
    pub(crate) fn next(&self) -> Option<Duration> {
        (self.asked.is_some() || self.verdict != Verdict::Free).then_some(self.next)
    }

    /// True if a question is to be sent now.
    pub(crate) fn is_due(&mut self, now: Duration) -> bool {
        if self.next().is_none_or(|next| now < next) {
            return false;
        }
        let asked = self.asked.unwrap_or(0);
        if asked < QUESTIONS {
            if asked == 0 {
                self.found = None;
            }
            (self.asked, self.next) = (Some(asked + 1), now + BETWEEN);
            return true;
        }
        self.asked = None;
        if let Some(by) = self.found.take() {
            self.verdict = Verdict::InUse(by);
            self.next = now + self.again;
            self.again = (2 * self.again).min(AGAIN_MAX);
        } else {
            self.verdict = Verdict::Free;
            self.again = AGAIN_FIRST;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRANGER: Mac = [2, 0, 0, 0, 0, 9];

    /// Runs to `end`; gives the milliseconds at which it asked. A stranger answers while `answers`.
    fn run(inquiry: &mut Inquiry, now: &mut Duration, end: u64, answers: bool) -> Vec<u128> {
        let mut asked = Vec::new();
        while let Some(next) = inquiry.next().filter(|next| next.as_millis() < end.into()) {
            *now = next;
            if inquiry.is_due(*now) {
                asked.push(now.as_millis());
                if answers {
                    inquiry.claimed(STRANGER, *now);
                }
            }
        }
        asked
    }

    #[test]
    fn an_address_that_nobody_answers_for_is_free_after_three_questions() {
        let mut now = Duration::ZERO;
        let mut inquiry = Inquiry::begin(now);
        assert_eq!(inquiry.verdict(), Verdict::Asking);
        assert_eq!(run(&mut inquiry, &mut now, 60_000, false), [0, 100, 200]);
        assert_eq!(inquiry.verdict(), Verdict::Free);
        assert_eq!(now, Duration::from_millis(300));
        assert_eq!(inquiry.next(), None, "a free address is not asked for");
    }

    #[test]
    fn a_stranger_is_asked_less_and_less_often_until_it_is_gone() {
        let mut now = Duration::ZERO;
        let mut inquiry = Inquiry::begin(now);
        let asked = run(&mut inquiry, &mut now, 100_000, true);
        assert_eq!(inquiry.verdict(), Verdict::InUse(STRANGER));
        let rounds: Vec<u128> = asked.iter().copied().step_by(3).collect();
        let gaps: Vec<u128> = rounds.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(gaps, [1_300, 2_300, 4_300, 8_300, 16_300, 30_300, 30_300]);
        run(&mut inquiry, &mut now, 400_000, false);
        assert_eq!(inquiry.verdict(), Verdict::Free);
    }

    #[test]
    fn a_stranger_that_claims_a_free_address_is_noticed_at_once_and_asked_for_after_a_second() {
        let mut now = Duration::ZERO;
        let mut inquiry = Inquiry::begin(now);
        run(&mut inquiry, &mut now, 10_000, false);
        now = Duration::from_secs(20);
        assert!(inquiry.claimed(STRANGER, now));
        assert!(!inquiry.claimed(STRANGER, now), "no news any more");
        assert_eq!(inquiry.verdict(), Verdict::InUse(STRANGER));
        assert_eq!(inquiry.next(), Some(Duration::from_secs(21)));
        assert_eq!(run(&mut inquiry, &mut now, 40_000, false).len(), 3);
        assert_eq!(inquiry.verdict(), Verdict::Free);
    }
}
