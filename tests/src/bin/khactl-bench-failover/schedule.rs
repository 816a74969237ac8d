//! Which trials are still to be made, in which order. Pure.
//!
//! A cluster has one profile from its beginning, so the run goes through several: lan, fast, lan, fast and so on, each
//! with a part of the rounds. In a round one side meets all its faults, then the other. keepalived's rounds
//! are dealt out over all clusters. So whatever the machine does meanwhile meets everybody.

use std::collections::BTreeSet;

use crate::contender::Contender;
use crate::fault::Fault;
use crate::journal::Key;

/// How many clusters each profile gets.
const PARTS: usize = 4;

/// What is to be measured in all.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) contenders: Vec<Contender>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) rounds: usize,
}

/// What is done on one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// The cluster's profile.
    pub(crate) profile: Contender,
    pub(crate) rounds: Vec<Round>,
}

/// One side's faults of one round; none is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) number: usize,
    /// Those of keepalived together, or the cluster's own profile.
    pub(crate) contenders: Vec<Contender>,
    pub(crate) faults: Vec<Fault>,
}

impl Wanted {
    /// What is left when `done` is there already.
    pub(crate) fn left(&self, done: &BTreeSet<Key>) -> Vec<Block> {
        let (khactl, keepalived): (Vec<_>, Vec<_>) =
            self.contenders.iter().partition(|one| one.is_khactl());
        let profiles = if khactl.is_empty() {
            vec![Contender::KhactlLan]
        } else {
            khactl.clone()
        };
        let part = self.rounds.div_ceil(PARTS).max(1);
        let mut blocks = Vec::new();
        for first in (1..=self.rounds).step_by(part) {
            let numbers = first..(first + part).min(self.rounds + 1);
            for (place, profile) in profiles.iter().enumerate() {
                let mut rounds = Vec::new();
                for number in numbers.clone() {
                    if number % profiles.len() == place {
                        rounds.extend(self.round(number, &keepalived, done));
                    }
                    if khactl.contains(profile) {
                        rounds.extend(self.round(number, &[*profile], done));
                    }
                }
                if !rounds.is_empty() {
                    blocks.push(Block {
                        profile: *profile,
                        rounds,
                    });
                }
            }
        }
        blocks
    }

    fn round(&self, number: usize, together: &[Contender], done: &BTreeSet<Key>) -> Option<Round> {
        let lacks = |fault: Fault| {
            together.iter().any(|contender| {
                fault.suits(*contender) && !done.contains(&(*contender, fault, number))
            })
        };
        let faults: Vec<_> = self
            .faults
            .iter()
            .copied()
            .filter(|fault| lacks(*fault))
            .collect();
        (!faults.is_empty()).then(|| Round {
            number,
            contenders: together.to_vec(),
            faults,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(contenders: &[Contender]) -> Wanted {
        Wanted {
            contenders: contenders.to_vec(),
            faults: Fault::ALL.to_vec(),
            rounds: 20,
        }
    }

    fn keys(blocks: &[Block]) -> Vec<Key> {
        let mut keys = Vec::new();
        for round in blocks.iter().flat_map(|block| &block.rounds) {
            for fault in &round.faults {
                for contender in &round.contenders {
                    keys.push((*contender, *fault, round.number));
                }
            }
        }
        keys
    }

    #[test]
    fn everybody_meets_every_fault_that_suits_it_once_in_every_round() {
        let blocks = wanted(&Contender::ALL).left(&BTreeSet::new());
        let keys = keys(&blocks);
        let once: BTreeSet<_> = keys.iter().copied().collect();
        assert_eq!(once.len(), keys.len());
        assert_eq!(keys.len(), 20 * (3 * 10 + 2 * 14));
        let profiles: Vec<_> = blocks.iter().map(|block| block.profile.word()).collect();
        assert_eq!(profiles, ["lan", "fast"].repeat(4));
    }

    #[test]
    fn a_profile_is_measured_on_its_own_clusters_and_keepalived_on_all() {
        for block in wanted(&Contender::ALL).left(&BTreeSet::new()) {
            let khactl = |round: &&Round| round.contenders[0].is_khactl();
            let own = block.rounds.iter().filter(khactl);
            assert!(
                own.into_iter()
                    .all(|round| round.contenders == [block.profile])
            );
            // Five rounds of its own, and every second one of keepalived's.
            assert!((7..=8).contains(&block.rounds.len()));
        }
    }

    #[test]
    fn what_is_done_is_not_done_again() {
        let wanted = wanted(&Contender::ALL);
        let all = keys(&wanted.left(&BTreeSet::new()));
        let missing = (Contender::KhactlFast, Fault::Transfer, 7);
        let done: BTreeSet<_> = all.iter().copied().filter(|key| *key != missing).collect();
        assert_eq!(keys(&wanted.left(&done)), [missing]);
        assert_eq!(wanted.left(&all.into_iter().collect()), []);
    }

    #[test]
    fn keepalived_alone_needs_one_profile_only() {
        let blocks = wanted(&[Contender::KeepalivedFastest]).left(&BTreeSet::new());
        assert_eq!(keys(&blocks).len(), 20 * 10);
        assert!(
            blocks
                .iter()
                .all(|block| block.profile == Contender::KhactlLan)
        );
    }
}
