//! Who answered one question, counted in the configuration it was asked under (P5).

use crate::Configuration;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Answers {
    configuration: Configuration,
    yes: u16,
    no: u16,
}

impl Answers {
    pub(crate) fn new(configuration: Configuration) -> Self {
        Self {
            configuration,
            yes: 0,
            no: 0,
        }
    }

    pub(crate) fn yes(&mut self, host: u64) {
        self.yes |= self.bit(host);
        self.no &= !self.yes;
    }

    pub(crate) fn no(&mut self, host: u64) {
        self.no |= self.bit(host) & !self.yes;
    }

    /// How many said yes.
    pub(crate) fn count(&self) -> usize {
        count(self.yes)
    }

    /// What the configuration of the question needs.
    pub(crate) fn majority(&self) -> usize {
        self.configuration.majority()
    }

    pub(crate) fn won(&self) -> bool {
        self.count() >= self.majority()
    }

    /// A majority of yes cannot come any more.
    pub(crate) fn lost(&self) -> bool {
        self.configuration.members().len() - count(self.no) < self.configuration.majority()
    }

    /// A majority answered, whatever it said (P2).
    pub(crate) fn heard(&self) -> bool {
        count(self.yes | self.no) >= self.configuration.majority()
    }

    fn bit(&self, host: u64) -> u16 {
        self.configuration.place(host).map_or(0, |place| 1 << place)
    }
}

fn count(bits: u16) -> usize {
    bits.count_ones() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Member;

    #[test]
    fn a_host_counts_once_and_a_stranger_never() {
        let members = [1, 2, 3].map(|id| Member {
            id,
            preference: 0,
            proposer: true,
        });
        let mut answers = Answers::new(Configuration::new(1, &members).expect("valid"));
        answers.yes(1);
        answers.yes(1);
        answers.yes(9);
        assert!(!answers.won() && !answers.lost() && !answers.heard());
        answers.no(2);
        assert!(answers.heard() && !answers.lost());
        answers.no(3);
        assert!(answers.lost());
        answers.yes(3);
        assert!(answers.won());
    }
}
