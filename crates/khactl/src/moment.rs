//! The time of day, for what is shown to people. Nothing here decides by it.

use jiff::Timestamp;
use khactl_sys::clock;

/// Now.
pub(crate) fn now() -> Timestamp {
    // A clock past the year 9999: the last moment that there is a name for is the closest answer.
    Timestamp::try_from(clock::wall()).unwrap_or(Timestamp::MAX)
}
