//! Whether a backend counts as healthy: thresholds over the results of its checks. Pure: it
//! neither asks nor waits.
//!
//! ```text
//!              rise good in a row
//!   Unhealthy ───────────────────▶ Healthy
//!             ◀───────────────────
//!              fall bad in a row
//! ```
//! The first result of all decides at once, so that a start does not wait for `rise` periods.

/// The state of one backend's checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    rise: u32,
    fall: u32,
    healthy: bool,
    judged: bool,
    /// Results in a row that speak against the present state.
    against: u32,
}

impl Health {
    /// Unhealthy until the first result. Thresholds below one count as one.
    pub fn new(rise: u32, fall: u32) -> Self {
        Self {
            rise: rise.max(1),
            fall: fall.max(1),
            healthy: false,
            judged: false,
            against: 0,
        }
    }

    /// Takes new thresholds over and keeps the verdict.
    pub fn set_thresholds(&mut self, rise: u32, fall: u32) {
        self.rise = rise.max(1);
        self.fall = fall.max(1);
    }

    /// Whether new connections go there.
    pub fn is_healthy(&self) -> bool {
        self.healthy
    }

    /// Takes one result in; true if it turned the verdict.
    pub fn observe(&mut self, good: bool) -> bool {
        if good == self.healthy {
            self.against = 0;
            self.judged = true;
            return false;
        }
        self.against += 1;
        let needed = match (self.judged, good) {
            (false, _) => 1,
            (true, true) => self.rise,
            (true, false) => self.fall,
        };
        self.judged = true;
        if self.against < needed {
            return false;
        }
        self.healthy = good;
        self.against = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_good_answer_makes_a_new_backend_healthy() {
        let mut health = Health::new(3, 3);
        assert!(!health.is_healthy());
        assert!(health.observe(true));
        assert!(health.is_healthy());
    }

    #[test]
    fn fall_bad_answers_in_a_row_are_needed_and_one_good_resets_them() {
        let mut health = Health::new(2, 3);
        health.observe(true);
        assert!(!health.observe(false));
        assert!(!health.observe(false));
        assert!(!health.observe(true));
        assert!(!health.observe(false));
        assert!(!health.observe(false));
        assert!(health.is_healthy());
        assert!(health.observe(false));
        assert!(!health.is_healthy());
    }

    #[test]
    fn rise_good_answers_bring_it_back() {
        let mut health = Health::new(2, 1);
        health.observe(true);
        assert!(health.observe(false));
        assert!(!health.observe(true));
        assert!(health.observe(true));
        assert!(health.is_healthy());
    }
}
