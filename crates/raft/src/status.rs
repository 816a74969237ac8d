//! What is known of the group, for `khactl status` and for decisions.

use std::collections::BTreeMap;

use openraft::RaftMetrics;

use crate::types::{LogId, Types};
use crate::{Peer, codec};

/// A member's view of the group, as of its last change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// The current term. One leader per term at the most: it can serve as a fencing token.
    pub term: u64,
    /// Who leads this term, as far as this member knows. A leader that lost its majority still
    /// shows here: decide by [`crate::Raft::last_quorum_acked`].
    pub leader: Option<Peer>,
    /// Whether this member is that leader.
    pub is_leader: bool,
    /// Index of the last entry in this member's log.
    pub last_log: u64,
    /// Index of the last entry applied to this member's machine.
    pub last_applied: u64,
    /// Index of the last entry in this member's snapshot.
    pub snapshot: u64,
    /// Members with a vote, by id.
    pub voters: Vec<Peer>,
    /// Members that copy the log and have no vote, by id.
    pub learners: Vec<Peer>,
    /// Whether a change of members is under way.
    pub changing: bool,
    /// On the leader: the last index that each member is known to hold, itself included.
    pub matched: BTreeMap<u64, u64>,
    /// Why consensus stopped on this host, if it did.
    pub stopped: Option<String>,
}

impl Status {
    pub(crate) fn from_metrics(metrics: &RaftMetrics<Types>) -> Self {
        let membership = metrics.membership_config.membership();
        let peer = |id: u64| Peer {
            id,
            address: membership
                .get_node(&id)
                .map(|node| node.addr.clone())
                .unwrap_or_default(),
        };
        let index = |id: &Option<LogId>| id.as_ref().map_or(0, |id| id.index);
        let is_leader = metrics.state == openraft::ServerState::Leader;
        Self {
            term: metrics.current_term,
            leader: metrics.current_leader.map(peer),
            is_leader,
            last_log: metrics.last_log_index.unwrap_or(0),
            last_applied: index(&metrics.last_applied),
            snapshot: index(&metrics.snapshot),
            voters: membership.voter_ids().map(peer).collect(),
            learners: membership.learner_ids().map(peer).collect(),
            changing: metrics.membership_config != metrics.committed_membership_config
                || membership.get_joint_config().len() > 1,
            matched: metrics
                .replication
                .as_ref()
                .map(|to| {
                    to.iter()
                        .map(|(id, matched)| (*id, index(matched)))
                        .collect()
                })
                .unwrap_or_default(),
            stopped: metrics
                .running_state
                .as_ref()
                .err()
                .map(|error| codec::chain(error)),
        }
    }

    /// The member with this id, voter or learner.
    pub fn member(&self, id: u64) -> Option<&Peer> {
        self.voters
            .iter()
            .chain(&self.learners)
            .find(|peer| peer.id == id)
    }

    /// Whether the id has a vote.
    pub fn is_voter(&self, id: u64) -> bool {
        self.voters.iter().any(|peer| peer.id == id)
    }

    /// Entries that the member lacks, as the leader knows; all of them on a follower.
    pub fn behind(&self, id: u64) -> u64 {
        let matched = self.matched.get(&id).copied().unwrap_or(0);
        self.last_log.saturating_sub(matched)
    }
}
