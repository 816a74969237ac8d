//! What the kernel says of whoever keeps its clock right. It asks only, and never sets anything.

use std::io;

/// The tick of a clock that nobody bends, in microseconds: the kernel counts 100 a second for this call (USER_HZ).
const TICK_US: i64 = 10_000;
/// Of a change of the tick by one microsecond, in millionths.
const PPM_PER_TICK_US: i64 = 100;
/// The frequency is told in millionths with 16 binary places (adjtimex(2)).
const FREQUENCY_PER_PPM: i64 = 1 << 16;

/// The state of the clock's discipline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Discipline {
    /// Somebody keeps telling the kernel the time.
    pub synchronized: bool,
    /// The greatest error, in microseconds; it grows while nobody does.
    pub error_us: u64,
    /// By how much the clock runs quicker than its hardware, in millionths.
    pub rate_ppm: i64,
}

/// Asks the kernel (`adjtimex(2)`). Needs no right; EPERM where a filter of system calls forbids even asking.
pub fn read() -> io::Result<Discipline> {
    // SAFETY: timex is plain data, for which all zeroes is a valid value; `modes` 0 asks and sets nothing.
    let mut told: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live timex, which the kernel only fills.
    if unsafe { libc::adjtimex(&raw mut told) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(of(&told))
}

fn of(told: &libc::timex) -> Discipline {
    Discipline {
        synchronized: told.status & libc::STA_UNSYNC == 0,
        error_us: u64::try_from(told.maxerror).unwrap_or(0),
        rate_ppm: (told.tick - TICK_US) * PPM_PER_TICK_US + told.freq / FREQUENCY_PER_PPM,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tick_and_frequency_come_to_one_rate() {
        // SAFETY: as above.
        let mut told: libc::timex = unsafe { std::mem::zeroed() };
        told.tick = 10_833;
        told.freq = -(12 << 16);
        told.maxerror = 1_500;
        let found = of(&told);
        assert_eq!(found.rate_ppm, 83_300 - 12);
        assert_eq!((found.synchronized, found.error_us), (true, 1_500));
        told.status = libc::STA_UNSYNC;
        assert!(!of(&told).synchronized);
    }

    #[test]
    fn the_kernel_tells_a_rate_that_a_clock_can_have() {
        match read() {
            Ok(told) => assert!(told.rate_ppm.abs() <= 110_000, "{told:?}"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
    }
}
