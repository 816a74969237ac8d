//! Waiting for a condition, never for a time.

use std::thread;
use std::time::Duration;

use khactl_lab::measure::{micros, now_us};

/// The shortest rest between two looks: short enough to meet an operation in the step that a test wants
/// to interrupt.
const REST_LEAST: Duration = Duration::from_millis(5);
/// The longest.
const REST_MOST: Duration = Duration::from_millis(500);
/// The rest is so many times as long as the look before it took: those who look must not take the
/// processor from those whom they wait for.
const REST_FACTOR: u32 = 3;

/// Looks until `found` has something; panics with `what` after `within`.
#[track_caller]
pub fn until<T>(what: &str, within: Duration, found: impl FnMut() -> Option<T>) -> T {
    match try_until(within, found) {
        Some(value) => value,
        None => panic!("waited {} s in vain until {what}", within.as_secs()),
    }
}

/// Looks until `found` has something; gives none after `within`.
pub(crate) fn try_until<T>(within: Duration, mut found: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline_us = now_us().saturating_add(micros(within));
    loop {
        let began_us = now_us();
        if let Some(value) = found() {
            return Some(value);
        }
        let ended_us = now_us();
        if ended_us >= deadline_us {
            return None;
        }
        let look = Duration::from_micros(ended_us.saturating_sub(began_us));
        thread::sleep((look * REST_FACTOR).clamp(REST_LEAST, REST_MOST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_is_waited_for() {
        let mut looks = 0;
        let found = until("three looks", Duration::from_secs(10), || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(found, 3);
    }

    #[test]
    #[should_panic(expected = "waited 0 s in vain until pigs fly")]
    fn a_condition_that_never_comes_true_fails_the_test() {
        until("pigs fly", Duration::from_millis(5), || None::<()>);
    }
}
