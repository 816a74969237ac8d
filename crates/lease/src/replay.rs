//! Lets every datagram through once, by its sender's incarnation and counter.
//!
//! A datagram of an incarnation that is not remembered (any more) counts as new: after a restart nothing is remembered.
//! What an attacker gains by replaying is delay alone. Every answer echoes a ballot and a sequence number of the
//! process that asked, a release voids its exact ballot, and a lock of an old ballot expires.

/// Nine hosts with three processes each, and some to spare.
const WINDOWS: usize = 32;

#[derive(Debug, Clone, Copy, Default)]
struct Window {
    sender: u64,
    incarnation: u64,
    highest: u64,
    /// Bit n: `highest - n` was seen.
    seen: u64,
    used: u64,
}

/// What was seen lately. Fixed size; the window that was used least recently makes room.
#[derive(Debug, Default)]
pub struct Replay {
    windows: [Window; WINDOWS],
    clock: u64,
}

impl Replay {
    /// True the first time. A counter more than 63 below the highest counts as seen.
    pub fn is_new(&mut self, sender: u64, incarnation: u64, counter: u64) -> bool {
        self.clock += 1;
        let known = self
            .windows
            .iter()
            .position(|w| w.used > 0 && (w.sender, w.incarnation) == (sender, incarnation));
        let Some(place) = known else {
            let oldest = self.windows.iter_mut().min_by_key(|window| window.used);
            if let Some(window) = oldest {
                *window = Window {
                    sender,
                    incarnation,
                    highest: counter,
                    seen: 1,
                    used: self.clock,
                };
            }
            return true;
        };
        let window = &mut self.windows[place];
        if counter > window.highest {
            let ahead = u32::try_from(counter - window.highest).unwrap_or(u32::MAX);
            window.seen = window.seen.checked_shl(ahead).unwrap_or(0) | 1;
            window.highest = counter;
        } else {
            let behind = u32::try_from(window.highest - counter).unwrap_or(u32::MAX);
            let Some(bit) = 1_u64.checked_shl(behind) else {
                return false;
            };
            if window.seen & bit != 0 {
                return false;
            }
            window.seen |= bit;
        }
        window.used = self.clock;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_passes_once_in_any_near_order() {
        let mut replay = Replay::default();
        for counter in [5, 7, 6, 200, 199, 137] {
            assert!(replay.is_new(1, 9, counter), "{counter}");
            assert!(!replay.is_new(1, 9, counter), "{counter} again");
        }
        assert!(!replay.is_new(1, 9, 136), "too far behind");
        assert!(!replay.is_new(1, 9, 7));
    }

    #[test]
    fn senders_and_incarnations_do_not_disturb_each_other() {
        let mut replay = Replay::default();
        assert!(replay.is_new(1, 1, 10));
        assert!(replay.is_new(1, 2, 10));
        assert!(replay.is_new(2, 1, 10));
        assert!(!replay.is_new(1, 1, 10));
    }

    #[test]
    fn the_window_used_least_recently_makes_room() {
        let mut replay = Replay::default();
        for incarnation in 0..32 {
            assert!(replay.is_new(1, incarnation, 1));
        }
        assert!(replay.is_new(1, 0, 2));
        assert!(replay.is_new(1, 99, 1));
        assert!(!replay.is_new(1, 0, 2), "just used, so still known");
        assert!(replay.is_new(1, 1, 1), "made room");
    }
}
