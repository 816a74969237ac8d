//! Leaving a backend that says nothing to anybody, long before a check condemns it. A process that was killed, or that
//! hangs, has a kernel that goes on connecting: its clients would wait in vain.
//!
//! Whether the backend is gone or only busy cannot be told from outside, and where all are busy a second greeting makes it
//! worse. So one waiting client at a time goes to the next backend, as a scout; if it is answered there before its old backend
//! has said a word to anybody, the others follow. A backend that is slow but speaks keeps its clients.
//!
//! ```text
//! asked ── look_after ─▶ has it said anything to anybody? ─yes─▶ wait on
//!                                 │ no
//!                                 ├─ it is a suspect ─────────▶ leave
//!                                 └─ no scout of late ─▶ leave as one ──answered elsewhere──▶ it is a suspect
//! ```

use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;

/// Many times what an answer takes within one network.
const LOOK_MIN: Duration = Duration::from_millis(10);

/// From then on a client that waits is reason enough for suspicion.
const LOOK_MAX: Duration = Duration::from_millis(250);

/// Between two scouts of one backend: what a busy one costs the others at the most.
const SCOUT_EVERY: Duration = Duration::from_millis(100);

/// How long a client waits until its backend is looked after, by what a connect to it and an answer of it usually take.
pub(crate) fn look_after(connect: Duration, answer: Duration) -> Duration {
    (connect.max(answer) * 3).clamp(LOOK_MIN, LOOK_MAX)
}

/// Whether a scout may go now, as the last one went then.
pub(crate) fn may_go(last: Duration, now: Duration) -> bool {
    now.saturating_sub(last) >= SCOUT_EVERY
}

/// A client that has left its backend to see whether another one answers.
#[derive(Debug)]
pub(crate) struct Scout {
    left: Arc<Backend>,
    /// What the backend had said to anybody by then.
    heard: u64,
    waited: Duration,
}

impl Scout {
    /// Of a backend from which so much was heard, after the client has waited for so long.
    pub(crate) fn new(left: &Arc<Backend>, heard: u64, waited: Duration) -> Self {
        Self {
            left: left.clone(),
            heard,
            waited,
        }
    }

    /// A backend has answered it, so long after it was asked. That speaks against one that has been silent for much longer.
    pub(crate) fn was_answered(self, by: &Arc<Backend>, took: Duration) {
        let silent = self.left.heard() == self.heard && !Arc::ptr_eq(&self.left, by);
        if silent && took <= self.waited * 2 {
            self.left
                .suspect("another backend answered a client sooner");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_distant_or_slow_backend_is_looked_after_later() {
        assert_eq!(look_after(ms(0), ms(0)), LOOK_MIN);
        assert_eq!(look_after(ms(1), ms(2)), LOOK_MIN);
        assert_eq!(look_after(ms(40), ms(45)), ms(135));
        assert_eq!(look_after(ms(1), ms(20)), ms(60));
        assert_eq!(look_after(ms(1), ms(2_000)), LOOK_MAX);
    }

    #[test]
    fn scouts_go_one_after_another() {
        assert!(may_go(Duration::ZERO, ms(100)));
        assert!(!may_go(ms(1_000), ms(1_099)));
        assert!(may_go(ms(1_000), ms(1_100)));
        // Another thread's clock reading came first.
        assert!(!may_go(ms(1_001), ms(1_000)));
    }
}
