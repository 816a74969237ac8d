//! One run from its beginning to its end: faults, then peace, then a holder within the bound, and one that stays.

use super::trace::Milliseconds;
use super::world::World;
use crate::timing::{GRACE, MS, SILENCE};

/// What must not be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Violation {
    /// Safety.
    TwoHolders { at: Milliseconds, hosts: (u64, u64) },
    /// Liveness: nobody holds after the bound.
    NoHolder { bound: Milliseconds },
    /// Liveness: the holder changed though nothing went wrong.
    LostWithoutFault,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TwoHolders { at, hosts } => {
                write!(
                    f,
                    "hosts {} and {} both answer at {at} ms",
                    hosts.0, hosts.1
                )
            }
            Self::NoHolder { bound } => write!(f, "nobody holds {bound} ms after the last fault"),
            Self::LostWithoutFault => write!(f, "the holder changed without a fault"),
        }
    }
}

impl World {
    /// Within how long after the last fault a healthy majority has a holder: whoever has to is past its silence by then,
    /// its own fence stands, every lock has run out, and there was time for a few tries.
    pub(super) fn bound(&self) -> u64 {
        SILENCE + GRACE + 8 * self.timing.lease() + 300 * MS
    }

    pub(super) fn run(&mut self) -> Result<(), Violation> {
        self.begin();
        let (shortest, longest) = self.scenario.span_ms;
        let trouble = (shortest + self.random.below(longest - shortest + 1)) * MS;
        self.run_until(self.leader.stretch(trouble))?;
        self.end_faults();
        let lease = self.timing.lease();
        let bound = self.now + self.bound();
        if self.random.percent(75) {
            while self.holders().next().is_none() && self.now < bound {
                self.run_until(self.now + lease)?;
            }
            return self.someone_holds().map(|_| ());
        }
        self.run_until(bound)?;
        let holder = self.someone_holds()?;
        let takeovers = self.takeovers;
        self.run_until(self.now + 10 * lease)?;
        if self.someone_holds()? == holder && takeovers == self.takeovers {
            Ok(())
        } else {
            Err(Violation::LostWithoutFault)
        }
    }

    fn someone_holds(&self) -> Result<usize, Violation> {
        self.holders().next().ok_or(Violation::NoHolder {
            bound: Milliseconds(self.bound()),
        })
    }
}
