//! Who takes part in the lease, under which epoch. Fixed size, so that a step copies it without allocating.

/// The most members of one configuration.
pub const MEMBERS_MAX: usize = 9;

/// One host of a configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Member {
    /// The host's id, never 0.
    pub id: u64,
    /// Place in the order of preference; 0 is the most preferred. Equal places are ordered by id.
    pub preference: u8,
    /// False for a witness, which accepts only.
    pub proposer: bool,
}

/// A configuration that cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// Epoch 0 is "no configuration".
    #[error("a lease configuration needs an epoch of 1 or more")]
    NoEpoch,
    /// Nobody takes part.
    #[error("a lease configuration needs at least one member")]
    NoMembers,
    /// More than [`MEMBERS_MAX`].
    #[error("{count} hosts cannot share one lease: at most 9 can")]
    TooManyMembers {
        /// How many were given.
        count: usize,
    },
    /// Host id 0 is "no host".
    #[error("host id 0 cannot be a member of the lease")]
    HostZero,
    /// The same host twice.
    #[error("host {id} is a member of the lease twice")]
    Twice {
        /// The host.
        id: u64,
    },
}

/// The members under one epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Configuration {
    epoch: u64,
    count: usize,
    members: [Member; MEMBERS_MAX],
}

impl Configuration {
    /// Checks count and ids.
    pub fn new(epoch: u64, members: &[Member]) -> Result<Self, ConfigurationError> {
        if epoch == 0 {
            return Err(ConfigurationError::NoEpoch);
        }
        if members.is_empty() {
            return Err(ConfigurationError::NoMembers);
        }
        if members.len() > MEMBERS_MAX {
            return Err(ConfigurationError::TooManyMembers {
                count: members.len(),
            });
        }
        for (place, member) in members.iter().enumerate() {
            if member.id == 0 {
                return Err(ConfigurationError::HostZero);
            }
            if members[..place].iter().any(|other| other.id == member.id) {
                return Err(ConfigurationError::Twice { id: member.id });
            }
        }
        let mut all = [Member::default(); MEMBERS_MAX];
        all[..members.len()].copy_from_slice(members);
        Ok(Self {
            epoch,
            count: members.len(),
            members: all,
        })
    }

    /// The epoch; 0 only before the first feed.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The members, in the order they were given.
    pub fn members(&self) -> &[Member] {
        &self.members[..self.count]
    }

    /// More than half.
    pub fn majority(&self) -> usize {
        self.count / 2 + 1
    }

    pub(crate) fn place(&self, id: u64) -> Option<usize> {
        self.members().iter().position(|member| member.id == id)
    }

    pub(crate) fn is_proposer(&self, id: u64) -> bool {
        self.members()
            .iter()
            .any(|member| member.id == id && member.proposer)
    }

    /// How many proposers come before `id`, not counting `gone`, who is being replaced.
    pub(crate) fn rank(&self, id: u64, gone: u64) -> u64 {
        let Some(own) = self.members().iter().find(|member| member.id == id) else {
            return 0;
        };
        let before = self
            .members()
            .iter()
            .filter(|member| member.proposer && member.id != gone)
            .filter(|member| (member.preference, member.id) < (own.preference, own.id));
        before.fold(0, |count, _| count + 1)
    }

    /// True if `other` names the same hosts in the same roles; preferences may differ.
    pub(crate) fn same_voters(&self, other: &Self) -> bool {
        self.count == other.count
            && self.members().iter().all(|member| {
                other
                    .members()
                    .iter()
                    .any(|m| m.id == member.id && m.proposer == member.proposer)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, preference: u8) -> Member {
        Member {
            id,
            preference,
            proposer: true,
        }
    }

    #[test]
    fn impossible_configurations_are_refused() {
        assert_eq!(
            Configuration::new(0, &[member(1, 0)]),
            Err(ConfigurationError::NoEpoch)
        );
        assert_eq!(
            Configuration::new(1, &[]),
            Err(ConfigurationError::NoMembers)
        );
        assert_eq!(
            Configuration::new(1, &[member(0, 0)]),
            Err(ConfigurationError::HostZero)
        );
        assert_eq!(
            Configuration::new(1, &[member(4, 0), member(4, 1)]),
            Err(ConfigurationError::Twice { id: 4 })
        );
        let ten: Vec<_> = (1..=10).map(|id| member(id, 0)).collect();
        assert_eq!(
            Configuration::new(1, &ten),
            Err(ConfigurationError::TooManyMembers { count: 10 })
        );
    }

    #[test]
    fn rank_goes_by_preference_then_id_and_skips_the_host_being_replaced() {
        let configuration =
            Configuration::new(1, &[member(1, 1), member(2, 1), member(3, 0)]).expect("valid");
        let ranks = |gone| [1, 2, 3].map(|id| configuration.rank(id, gone));
        assert_eq!(ranks(0), [1, 2, 0]);
        assert_eq!(ranks(3), [0, 1, 0]);
        assert_eq!(ranks(1), [1, 1, 0]);
    }

    #[test]
    fn a_majority_is_more_than_half() {
        let of = |n: u64| {
            let members: Vec<_> = (1..=n).map(|id| member(id, 0)).collect();
            Configuration::new(1, &members).expect("valid").majority()
        };
        assert_eq!(
            (1..=9).map(of).collect::<Vec<_>>(),
            [1, 2, 2, 3, 3, 4, 4, 5, 5]
        );
    }
}
