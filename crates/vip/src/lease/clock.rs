//! The clocks as the lease needs them. It only reads them; what a jump means the machine decides.

use khactl_lease::has_slept;
use khactl_sys::clock;

const NS_PER_MS: u64 = 1_000_000;

/// Less than this is the time between reading two clocks.
const JUMP: u64 = NS_PER_MS;

/// Three readings take less than a microsecond. What takes longer than this was interrupted, and is tried again.
const TOGETHER: u64 = JUMP / 4;
const ATTEMPTS: usize = 4;

/// Over how long the clock's rate is compared with the hardware's.
const RATE_WINDOW: u64 = 1_000 * NS_PER_MS;

/// RHO allows each clock one per cent.
const RATE_PARTS: u64 = 100;

/// `CLOCK_BOOTTIME` in nanoseconds.
pub(super) fn boottime_ns() -> u64 {
    nanoseconds(clock::boottime())
}

/// For how long the host has slept since boot, in nanoseconds.
pub(super) fn slept_ns() -> u64 {
    let (boot, monotonic, _) = read().unwrap_or_else(read_once);
    boot.saturating_sub(monotonic)
}

/// Watches for suspends and for a clock that is slewed too fast.
pub(super) struct Watch {
    slept: u64,
    window: (u64, u64),
}

impl Watch {
    /// Of a host that had slept for so long when it was last looked at, be it by an earlier process.
    pub(super) fn start(slept: u64) -> Self {
        let (boot, _, raw) = read().unwrap_or_else(read_once);
        Self {
            slept,
            window: (boot, raw),
        }
    }

    /// For how long the host had slept at the last look, in nanoseconds.
    pub(super) fn slept(&self) -> u64 {
        self.slept
    }

    /// True once for every jump, and for every window in which the clock erred by more than a per cent.
    pub(super) fn jumped(&mut self) -> bool {
        // A thread that was held up between two readings has seen no jump; it looks again at the next step.
        read().is_some_and(|(boot, monotonic, raw)| self.judge(boot, monotonic, raw))
    }

    fn judge(&mut self, boot: u64, monotonic: u64, raw: u64) -> bool {
        let slept = boot.saturating_sub(monotonic);
        let jumped = has_slept(self.slept, slept);
        let (boot_run, raw_run) = (
            boot.saturating_sub(self.window.0),
            raw.saturating_sub(self.window.1),
        );
        let full = raw_run >= RATE_WINDOW;
        let strayed = full && boot_run.abs_diff(raw_run) > raw_run / RATE_PARTS + JUMP;
        self.slept = slept;
        if full || jumped {
            self.window = (boot, raw);
        }
        jumped || strayed
    }
}

/// The three clocks at nearly one moment; none if the thread was held up again and again.
fn read() -> Option<(u64, u64, u64)> {
    for _ in 0..ATTEMPTS {
        let (boot, monotonic, raw) = read_once();
        if nanoseconds(clock::monotonic()).saturating_sub(monotonic) <= TOGETHER {
            return Some((boot, monotonic, raw));
        }
    }
    None
}

/// Monotonic first, so that a second look at it tells how long all took.
fn read_once() -> (u64, u64, u64) {
    let monotonic = nanoseconds(clock::monotonic());
    (
        boottime_ns(),
        monotonic,
        nanoseconds(clock::monotonic_raw()),
    )
}

fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspend_and_a_clock_slewed_too_fast_are_noticed_once() {
        let second = 1_000 * NS_PER_MS;
        let mut watch = Watch {
            slept: 5,
            window: (second, second),
        };
        assert!(!watch.judge(2 * second + 5, 2 * second, 2 * second));
        assert!(watch.judge(4 * second, 3 * second, 3 * second));
        assert!(!watch.judge(5 * second, 4 * second, 4 * second));
        let fast = second / 50;
        assert!(watch.judge(6 * second + fast, 5 * second + fast, 5 * second));
        assert!(!watch.judge(7 * second + fast, 6 * second + fast, 6 * second));
    }
}
