//! What survives the process (not the boot): the acceptor's whole state, the configuration, and the ballots used.

use crate::acceptor::Acceptor;
use crate::rules::Rules;
use crate::{Ballot, Configuration, Lock};

/// The content of the record, written before every answer (A7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Record {
    /// The highest ballot promised.
    pub promised: Ballot,
    /// The lease granted, expired or not.
    pub lock: Option<Lock>,
    /// The highest ballot released.
    pub floor: Ballot,
    /// The fenced epoch.
    pub fence: u64,
    /// The end of the silence (A8).
    pub silent_until: u64,
    /// A confirmed epoch was fed since boot (A8).
    pub ready: bool,
    /// What was last fed.
    pub configuration: Configuration,
    /// The highest round ever seen (P3).
    pub highest_round: u64,
    /// The ballot in use or last used by this host.
    pub ballot: Ballot,
    /// Released up to this ballot of this host (P9, K4).
    pub released: Ballot,
}

impl Record {
    /// K4: what the record becomes when this host's process is proven dead, its gate closed and its address removed.
    /// Gives the ballot to release under K5, if one was in use.
    pub fn release_for_dead_process(&mut self) -> Option<Ballot> {
        if self.ballot <= self.released {
            return None;
        }
        self.released = self.ballot;
        let mut acceptor = self.acceptor(Rules::all());
        acceptor.release(self.ballot);
        self.lock = acceptor.lock;
        self.floor = acceptor.floor;
        Some(self.ballot)
    }

    pub(crate) fn acceptor(&self, rules: Rules) -> Acceptor {
        let Self {
            promised,
            lock,
            floor,
            fence,
            silent_until,
            ready,
            ..
        } = *self;
        Acceptor {
            promised,
            lock,
            floor,
            fence,
            silent_until,
            ready,
            rules,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_process_ballot_is_released_once_and_clears_its_own_lock_only() {
        let own = Ballot {
            round: 4,
            host: 1,
            incarnation: 9,
        };
        let mut record = Record {
            ballot: own,
            lock: Some(Lock {
                ballot: own,
                expiry: 50,
            }),
            ..Record::default()
        };
        assert_eq!(record.release_for_dead_process(), Some(own));
        assert_eq!(
            (record.lock, record.floor, record.released),
            (None, own, own)
        );
        assert_eq!(record.release_for_dead_process(), None);

        let other = Ballot {
            round: 5,
            host: 2,
            incarnation: 3,
        };
        let lock = Some(Lock {
            ballot: other,
            expiry: 50,
        });
        let mut record = Record {
            ballot: own,
            lock,
            ..Record::default()
        };
        assert_eq!(record.release_for_dead_process(), Some(own));
        assert_eq!(record.lock, lock);
    }
}
