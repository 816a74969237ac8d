//! Random choices that can be made again from their seed.

use std::time::Duration;

use khactl_lab::measure::{micros, now_us};

/// SplitMix64 (Steele, Lea, Flood 2014): small, and good enough to choose hosts.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// From KHACTL_SEED, or from the clock; prints the seed.
    #[track_caller]
    pub fn seeded() -> Self {
        let seed = match std::env::var("KHACTL_SEED") {
            Ok(text) => match text.parse() {
                Ok(seed) => seed,
                Err(error) => panic!("KHACTL_SEED is {text:?}: {error}"),
            },
            Err(_) => now_us(),
        };
        eprintln!("seed {seed}: KHACTL_SEED={seed} makes the same choices again");
        Self { state: seed }
    }

    /// One of several; panics if there is none.
    #[track_caller]
    pub fn choose<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        let count = u64::try_from(among.len()).unwrap_or(u64::MAX);
        assert!(count > 0, "there is nothing to choose from");
        let index = usize::try_from(self.next() % count).unwrap_or_default();
        &among[index]
    }

    /// A time shorter than this one, to the microsecond.
    pub fn below(&mut self, limit: Duration) -> Duration {
        let limit_us = micros(limit).max(1);
        Duration::from_micros(self.next() % limit_us)
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_choices_and_meets_everything() {
        let choices = |seed| {
            let mut random = Random { state: seed };
            (0..30)
                .map(|_| *random.choose(&[1, 2, 3]))
                .collect::<Vec<_>>()
        };
        assert_eq!(choices(7), choices(7));
        assert!((1..=3).all(|number| choices(7).contains(&number)));
    }

    #[test]
    fn times_are_spread_over_the_whole_length_and_stay_below_it() {
        let mut random = Random { state: 7 };
        let limit = Duration::from_millis(100);
        let times: Vec<_> = (0..200).map(|_| random.below(limit)).collect();
        assert!(times.iter().all(|time| *time < limit));
        assert!(times.iter().any(|time| *time < limit / 10));
        assert!(times.iter().any(|time| *time > limit / 10 * 9));
    }
}
