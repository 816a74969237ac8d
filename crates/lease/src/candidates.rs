//! Who could take the lease over: what the others said of themselves when they last accepted. For hand-overs (P9); it
//! shapes liveness alone, and a successor that is named takes nothing that it would not be granted otherwise.

use crate::{Configuration, MEMBERS_MAX};

/// For one host, what it last said and when that came.
#[derive(Debug, Clone, Copy, Default)]
struct Candidate {
    host: u64,
    heard: u64,
    fitness: u8,
}

/// One place for each host that was heard.
#[derive(Debug, Clone, Default)]
pub(crate) struct Candidates {
    known: [Candidate; MEMBERS_MAX],
}

impl Candidates {
    /// A host said how fit it is (0: it cannot serve).
    pub(crate) fn heard(&mut self, host: u64, now: u64, fitness: u8) {
        let own = |known: &&mut Candidate| known.host == host || known.host == 0;
        if let Some(place) = self.known.iter_mut().find(own) {
            *place = Candidate {
                host,
                heard: now,
                fitness,
            };
        }
    }

    /// Forgets hosts that have left.
    pub(crate) fn keep(&mut self, configuration: &Configuration) {
        let before = std::mem::take(self);
        let stays = |known: &&Candidate| configuration.place(known.host).is_some();
        for known in before.known.iter().filter(stays) {
            self.heard(known.host, known.heard, known.fitness);
        }
    }

    /// The fittest of those heard since then, of equals the first in rank; `own` is left out.
    pub(crate) fn best(&self, configuration: &Configuration, own: u64, since: u64) -> Option<u64> {
        self.known
            .iter()
            .filter(|known| known.host != own && known.heard >= since && known.fitness > 0)
            .filter(|known| configuration.is_proposer(known.host))
            .min_by_key(|known| (u8::MAX - known.fitness, configuration.rank(known.host, own)))
            .map(|known| known.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Member;

    fn configuration(members: &[(u64, u8, bool)]) -> Configuration {
        let member = |&(id, preference, proposer)| Member {
            id,
            preference,
            proposer,
        };
        let members: Vec<_> = members.iter().map(member).collect();
        Configuration::new(1, &members).expect("valid")
    }

    #[test]
    fn the_fittest_comes_first_then_the_preferred_then_the_lower_id() {
        let all = configuration(&[(1, 0, true), (2, 1, true), (3, 1, true), (4, 0, true)]);
        let mut candidates = Candidates::default();
        assert_eq!(candidates.best(&all, 1, 0), None, "nobody was heard");
        for host in 1..=4 {
            candidates.heard(host, 100, 254);
        }
        assert_eq!(candidates.best(&all, 1, 100), Some(4), "the preferred");
        candidates.heard(3, 110, 255);
        assert_eq!(candidates.best(&all, 1, 100), Some(3), "the fitter");
        candidates.heard(2, 110, 255);
        assert_eq!(candidates.best(&all, 1, 100), Some(2), "the lower id");
    }

    #[test]
    fn nobody_is_named_who_is_silent_unfit_a_witness_or_gone() {
        let all = configuration(&[(1, 0, true), (2, 0, true), (3, 0, false), (4, 0, true)]);
        let mut candidates = Candidates::default();
        candidates.heard(2, 99, 255);
        candidates.heard(3, 100, 255);
        candidates.heard(4, 100, 0);
        assert_eq!(candidates.best(&all, 1, 100), None);
        candidates.heard(4, 101, 255);
        assert_eq!(candidates.best(&all, 1, 100), Some(4));
        candidates.keep(&configuration(&[(1, 0, true), (2, 0, true)]));
        assert_eq!(candidates.best(&all, 1, 100), None, "forgotten");
    }
}
