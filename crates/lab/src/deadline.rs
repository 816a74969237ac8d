//! Waiting for a condition, never for a time.

use std::thread;
use std::time::Duration;

use khactl_sys::clock;

use crate::error::{LabError, Result};

/// Between two looks: short against everything that a lab waits for.
const LOOK: Duration = Duration::from_millis(2);

/// Looks until `found` has something, or fails with `what` after `within`.
pub(crate) fn until<T>(
    what: &str,
    within: Duration,
    mut found: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = clock::monotonic() + within;
    loop {
        if let Some(value) = found()? {
            return Ok(value);
        }
        if clock::monotonic() >= end {
            return Err(LabError::Deadline {
                what: what.to_owned(),
                within_ms: within.as_millis(),
            });
        }
        thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_never_holds_ends_at_its_deadline() {
        let error = until::<()>("pigs fly", Duration::from_millis(5), || Ok(None)).unwrap_err();
        assert_eq!(error.to_string(), "waited 5 ms in vain until pigs fly");
    }

    #[test]
    fn a_condition_that_holds_at_the_third_look_is_found() {
        let mut looks = 0;
        let found = until("three", Duration::from_secs(10), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.unwrap(), 3);
    }
}
