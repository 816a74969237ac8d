//! Whether new connections should rather go elsewhere although the checks have not condemned a backend yet:
//! what clients' connections and single checks tell between two verdicts. Pure.
//!
//! A suspect is tried last; it is neither left out nor are its connections cut, so that a wrong suspicion costs
//! nothing and needs no thresholds.

/// What was seen of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// A connect was refused, or another backend answered it sooner although it was asked later, or the
    /// connection ended before the backend said anything, or it says nothing for long.
    ConnectFailed,
    /// A client's connection got its first byte.
    Answered,
    /// A check failed.
    CheckFailed,
    /// A check passed.
    CheckPassed,
}

/// What speaks against a backend at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Suspicion {
    connects: bool,
    checks: bool,
}

impl Suspicion {
    /// Takes in what was seen; true if the backend became a suspect by it, or ceased to be one.
    pub fn observe(&mut self, seen: Evidence) -> bool {
        let before = self.stands();
        match seen {
            Evidence::ConnectFailed => self.connects = true,
            // A hung server's kernel still connects: only a check that passes speaks against a failed one.
            Evidence::Answered => self.connects = false,
            Evidence::CheckFailed => self.checks = true,
            Evidence::CheckPassed => *self = Self::default(),
        }
        self.stands() != before
    }

    /// Whether the backend is a suspect.
    pub fn stands(&self) -> bool {
        self.connects || self.checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_connect_is_enough_and_one_answer_clears_it() {
        let mut suspicion = Suspicion::default();
        assert!(suspicion.observe(Evidence::ConnectFailed));
        assert!(!suspicion.observe(Evidence::ConnectFailed));
        assert!(suspicion.stands());
        assert!(suspicion.observe(Evidence::Answered));
        assert!(!suspicion.stands());
    }

    #[test]
    fn a_failed_check_is_cleared_by_a_check_alone() {
        let mut suspicion = Suspicion::default();
        assert!(suspicion.observe(Evidence::CheckFailed));
        suspicion.observe(Evidence::ConnectFailed);
        assert!(!suspicion.observe(Evidence::Answered));
        assert!(suspicion.stands());
        assert!(suspicion.observe(Evidence::CheckPassed));
        assert!(!suspicion.stands());
    }
}
