//! The one place where clocks are read.
//!
//! Everything else gets the time as an argument, so that a simulation can set it. These are
//! plain functions: a clock read never fails on Linux for the ids used here.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// Time since boot, suspend included (`CLOCK_BOOTTIME`): leases count on it, because a host
/// that slept must not believe that its lease still runs.
pub fn boottime() -> Duration {
    read(ClockId::Boottime)
}

/// Time since boot without suspend, slewed by NTP (`CLOCK_MONOTONIC`): for timeouts.
pub fn monotonic() -> Duration {
    read(ClockId::Monotonic)
}

/// Time since boot without suspend, at the hardware's own rate (`CLOCK_MONOTONIC_RAW`): what
/// the slewed clocks are compared with.
pub fn monotonic_raw() -> Duration {
    read(ClockId::MonotonicRaw)
}

/// The boot time at which the machine's real-time clock showed `stamp`, a time since 1970 that the
/// kernel put on something a moment ago. A step of that clock in between shifts it.
pub fn boottime_of(stamp: Duration) -> Duration {
    let (real, boot) = (read(ClockId::Realtime), boottime());
    boot.saturating_sub(real.saturating_sub(stamp))
}

/// The time of day. It steps; use it for certificates, logs and people only.
///
/// `KHACTL_CLOCK_OFFSET_MS` shifts it for this process alone: tests give a host a wrong wall
/// clock by it, which no namespace can.
pub fn wall() -> SystemTime {
    let now = clock_gettime(ClockId::Realtime);
    let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
    let real = match u64::try_from(now.tv_sec) {
        Ok(secs) => SystemTime::UNIX_EPOCH + Duration::new(secs, nanos),
        // A clock before 1970: a host whose battery is dead. The epoch is the closest answer.
        Err(_) => SystemTime::UNIX_EPOCH,
    };
    let offset_ms = *OFFSET_MS.get_or_init(|| {
        std::env::var("KHACTL_CLOCK_OFFSET_MS")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    });
    let offset = Duration::from_millis(offset_ms.unsigned_abs());
    if offset_ms < 0 {
        real - offset
    } else {
        real + offset
    }
}

static OFFSET_MS: OnceLock<i64> = OnceLock::new();

fn read(id: ClockId) -> Duration {
    let now = clock_gettime(id);
    // Clocks that count from boot are never negative, and nanoseconds stay below 10^9.
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_count_from_boot_never_go_back() {
        for clock in [boottime, monotonic, monotonic_raw] {
            let first = clock();
            let second = clock();
            assert!(first > Duration::ZERO);
            assert!(second >= first);
        }
    }

    #[test]
    fn boottime_is_never_behind_monotonic() {
        let monotonic = monotonic();
        assert!(boottime() >= monotonic);
    }

    #[test]
    fn a_stamp_of_this_moment_is_this_boot_time() {
        let before = boottime();
        let stamp = read(ClockId::Realtime);
        let found = boottime_of(stamp);
        // Each clock is read on its own: what lies between two readings is the error.
        let error = boottime().abs_diff(before);
        assert!(found.abs_diff(before) <= error, "{found:?} {before:?}");
    }

    #[test]
    fn wall_clock_agrees_with_the_standard_library() {
        let before = rustix::time::clock_gettime(ClockId::Realtime);
        let wall = wall().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert!(
            wall.as_secs()
                .abs_diff(u64::try_from(before.tv_sec).unwrap())
                <= 1
        );
    }
}
