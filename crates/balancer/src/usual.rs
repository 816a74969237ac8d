//! How long something usually takes, so that what takes much longer is noticed. Pure but for its own memory.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A smoothed time, in which one measurement counts an eighth; zero while nothing was measured.
#[derive(Debug, Default)]
pub(crate) struct Usual {
    us: AtomicU32,
}

impl Usual {
    /// It has taken so long once more. Of two threads that say so at once one may be forgotten.
    pub(crate) fn took(&self, time: Duration) {
        let took = u32::try_from(time.as_micros()).unwrap_or(u32::MAX).max(1);
        let smoothed = match self.us.load(Ordering::Relaxed) {
            0 => took,
            before => before - before / 8 + took / 8,
        };
        self.us.store(smoothed, Ordering::Relaxed);
    }

    /// What it usually takes.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_micros(self.us.load(Ordering::Relaxed).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_counts_whole_and_each_later_one_a_little() {
        let usual = Usual::default();
        assert_eq!(usual.time(), Duration::ZERO);
        usual.took(Duration::from_micros(800));
        assert_eq!(usual.time(), Duration::from_micros(800));
        usual.took(Duration::from_micros(1_600));
        assert_eq!(usual.time(), Duration::from_micros(900));
        usual.took(Duration::MAX);
        assert!(usual.time() > Duration::from_mins(1));
    }
}
