//! The few ways in which the agent reads time and waits.

use std::time::{Duration, UNIX_EPOCH};

/// The wall clock in milliseconds since the Unix epoch.
pub fn wall_ms() -> i64 {
    let since = khactl_sys::clock::wall()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The boot clock in milliseconds.
pub fn boot_ms() -> u64 {
    u64::try_from(khactl_sys::clock::boottime().as_millis()).unwrap_or(u64::MAX)
}

/// A call that gives up after that time.
pub fn within<T>(timeout: Duration, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(timeout);
    request
}

/// Lets time pass between two tries of something that nothing announces.
pub async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
