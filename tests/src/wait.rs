//! Waiting for a condition, never for a time.

use std::thread;
use std::time::Duration;

use khactl_lab::measure::{micros, now_us};

/// Between two looks: short enough to meet an operation in the step that a test wants to interrupt.
const LOOK: Duration = Duration::from_millis(5);

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
        if let Some(value) = found() {
            return Some(value);
        }
        if now_us() >= deadline_us {
            return None;
        }
        thread::sleep(LOOK);
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
