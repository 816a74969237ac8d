//! Between openraft's types and the messages of `raft.proto`.
//!
//! Everything that comes in is bounded and validated here: openraft itself panics on logs
//! with holes and on memberships that name nobody.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use khactl_proto::v1;
use openraft::vote::RaftLeaderId as _;
use openraft::vote::leader_id_std::{CommittedLeaderId, LeaderId};
use openraft::{BasicNode, EntryPayload};

use crate::codec::{self, CodecError};
use crate::types::{
    Command, Entry, LogId, Membership, Payload, SnapshotMeta, StoredMembership, Vote,
};

/// Members of a group at the most; three, five or seven are sensible.
const MAX_MEMBERS: usize = 64;
/// Length of an address at the most: a DNS name, a colon and a port.
const MAX_ADDRESS_BYTES: usize = 261;

pub(crate) fn log_id_to(id: &LogId) -> v1::RaftLogId {
    v1::RaftLogId {
        term: id.leader_id.term,
        index: id.index,
    }
}

pub(crate) fn log_id_from(id: v1::RaftLogId) -> LogId {
    LogId::new(CommittedLeaderId::new(id.term), id.index)
}

pub(crate) fn vote_to(vote: &Vote) -> v1::RaftBallot {
    v1::RaftBallot {
        term: vote.leader_id.term(),
        voted_for: *vote.leader_id.node_id(),
        committed: vote.committed,
    }
}

pub(crate) fn vote_from(ballot: v1::RaftBallot) -> Vote {
    Vote {
        leader_id: LeaderId {
            term: ballot.term,
            voted_for: ballot.voted_for,
        },
        committed: ballot.committed,
    }
}

fn membership_to(membership: &Membership) -> v1::RaftMembership {
    v1::RaftMembership {
        configs: membership
            .get_joint_config()
            .iter()
            .map(|ids| v1::RaftVoters {
                ids: ids.iter().copied().collect(),
            })
            .collect(),
        members: membership
            .nodes()
            .map(|(id, node)| v1::RaftMember {
                id: *id,
                address: node.addr.clone(),
            })
            .collect(),
    }
}

fn membership_from(message: v1::RaftMembership) -> Result<Membership, CodecError> {
    if message.members.len() > MAX_MEMBERS || message.configs.len() > 2 {
        return Err(CodecError::Invalid("it names too many members".to_owned()));
    }
    let mut nodes = BTreeMap::new();
    for member in message.members {
        if member.address.len() > MAX_ADDRESS_BYTES {
            return Err(CodecError::Invalid(format!(
                "member {}'s address is too long",
                member.id
            )));
        }
        nodes.insert(
            member.id,
            BasicNode {
                addr: member.address,
            },
        );
    }
    let configs: Vec<BTreeSet<u64>> = message
        .configs
        .into_iter()
        .map(|voters| voters.ids.into_iter().collect())
        .collect();
    if configs.is_empty() && nodes.is_empty() {
        // What a member that was never told of a group has.
        return Ok(Membership::default());
    }
    Membership::new(configs, nodes).map_err(|error| CodecError::Invalid(error.to_string()))
}

pub(crate) fn entry_to_bytes(entry: &Entry) -> Vec<u8> {
    use v1::raft_log_entry::{Blank, Payload as Kind};
    let payload = match &entry.payload {
        EntryPayload::Blank => Kind::Blank(Blank {}),
        EntryPayload::Normal(command) => Kind::Command(Bytes::copy_from_slice(&command.0)),
        EntryPayload::Membership(membership) => Kind::Membership(membership_to(membership)),
    };
    codec::encode(&v1::RaftLogEntry {
        log_id: Some(log_id_to(&entry.log_id)),
        payload: Some(payload),
    })
}

pub(crate) fn entry_from_bytes(bytes: &Bytes) -> Result<Entry, CodecError> {
    use v1::raft_log_entry::Payload as Kind;
    let message: v1::RaftLogEntry = codec::decode(bytes)?;
    let log_id = log_id_from(message.log_id.ok_or(CodecError::Missing("log id"))?);
    let payload: Payload = match message.payload.ok_or(CodecError::Missing("payload"))? {
        Kind::Blank(_) => EntryPayload::Blank,
        Kind::Command(command) => EntryPayload::Normal(Command(command.into())),
        Kind::Membership(membership) => EntryPayload::Membership(membership_from(membership)?),
    };
    Ok(Entry { log_id, payload })
}

pub(crate) fn meta_to(meta: &SnapshotMeta) -> v1::RaftSnapshotMeta {
    let stored = &meta.last_membership;
    v1::RaftSnapshotMeta {
        last_log_id: meta.last_log_id.as_ref().map(log_id_to),
        membership: Some(v1::RaftStoredMembership {
            log_id: stored.log_id().as_ref().map(log_id_to),
            membership: Some(membership_to(stored.membership())),
        }),
    }
}

pub(crate) fn meta_from(message: v1::RaftSnapshotMeta) -> Result<SnapshotMeta, CodecError> {
    let stored = message
        .membership
        .ok_or(CodecError::Missing("membership"))?;
    let membership = stored.membership.ok_or(CodecError::Missing("membership"))?;
    Ok(SnapshotMeta {
        last_log_id: message.last_log_id.map(log_id_from),
        last_membership: StoredMembership::new(
            stored.log_id.map(log_id_from),
            membership_from(membership)?,
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_id(term: u64, index: u64) -> LogId {
        LogId::new(CommittedLeaderId::new(term), index)
    }

    fn membership() -> Membership {
        let nodes = BTreeMap::from([
            (1, BasicNode::new("10.77.0.11:9443")),
            (2, BasicNode::new("10.77.0.12:9443")),
            (3, BasicNode::new("10.77.0.13:9443")),
        ]);
        Membership::new(vec![BTreeSet::from([1]), BTreeSet::from([1, 2])], nodes)
            .expect("a joint membership")
    }

    #[test]
    fn every_kind_of_entry_survives_the_log_format() {
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(Command(b"set".to_vec())),
            EntryPayload::Membership(membership()),
        ];
        for payload in payloads {
            let entry = Entry {
                log_id: log_id(4, 9),
                payload,
            };
            let read = entry_from_bytes(&entry_to_bytes(&entry).into()).expect("just written");
            assert_eq!(read, entry);
        }
    }

    #[test]
    fn votes_and_snapshot_metas_survive_their_messages() {
        for committed in [false, true] {
            let vote = Vote {
                leader_id: LeaderId {
                    term: 5,
                    voted_for: 2,
                },
                committed,
            };
            assert_eq!(vote_from(vote_to(&vote)), vote);
        }
        let meta = SnapshotMeta {
            last_log_id: Some(log_id(4, 9)),
            last_membership: StoredMembership::new(Some(log_id(2, 3)), membership()),
        };
        assert_eq!(meta_from(meta_to(&meta)).expect("just made"), meta);
        let fresh = SnapshotMeta::default();
        assert_eq!(meta_from(meta_to(&fresh)).expect("just made"), fresh);
    }

    #[test]
    fn a_membership_that_names_a_voter_without_address_is_refused() {
        let message = v1::RaftMembership {
            configs: vec![v1::RaftVoters { ids: vec![1, 2] }],
            members: vec![v1::RaftMember {
                id: 1,
                address: "a:1".to_owned(),
            }],
        };
        assert!(membership_from(message).is_err());
    }

    #[test]
    fn an_oversized_membership_is_refused() {
        let members = (0..100)
            .map(|id| v1::RaftMember {
                id,
                address: "a:1".to_owned(),
            })
            .collect();
        let message = v1::RaftMembership {
            configs: vec![v1::RaftVoters { ids: vec![1] }],
            members,
        };
        assert!(membership_from(message).is_err());
    }
}
