//! The datagram: 168 bytes, whatever the message, so that nothing has a length to lie about.
//!
//! ```text
//!   0 version  1 kind  2 reason  3 fitness   4 cluster(16)   20 sender   28 incarnation   36 counter
//!  44 ballot(24: round, host, incarnation)   68 seq   76 epoch or fence   84 lease or left   92 holder or successor
//! 100 promised(24)   124 zero(12)   136 HMAC-SHA256 over bytes 0..136
//! ```
//!
//! Numbers are little-endian. The HMAC is the caller's: nothing here holds a key. What a kind does not use is zero, and
//! whatever does not encode back to the same bytes is refused.

use crate::{Ballot, Message, NackReason};

/// The size of every datagram.
pub const DATAGRAM_LEN: usize = 168;
/// The size of the HMAC at the end.
pub const MAC_LEN: usize = 32;
/// What the HMAC covers, from the first byte.
pub const AUTHENTICATED_LEN: usize = DATAGRAM_LEN - MAC_LEN;

const VERSION: u8 = 1;

/// No honest host gets near this round; refusing it keeps one more round always possible.
const ROUND_MAX: u64 = 1 << 62;

/// A message with what makes it this sender's and unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// The cluster's id.
    pub cluster: [u8; 16],
    /// The sending host.
    pub sender: u64,
    /// Random per start of the sending process.
    pub incarnation: u64,
    /// Rises with every datagram of one incarnation.
    pub counter: u64,
    /// What is said.
    pub message: Message,
}

/// Why bytes are no datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Truncated or oversized.
    #[error("a lease datagram has 168 bytes, this one has {length}")]
    Length {
        /// What it has.
        length: usize,
    },
    /// From another release of the protocol.
    #[error("lease protocol version {version} is not known here: upgrade the older host")]
    Version {
        /// The version found.
        version: u8,
    },
    /// No such message.
    #[error("lease message kind {kind} is not known")]
    Kind {
        /// The kind found.
        kind: u8,
    },
    /// No such reason of a nack.
    #[error("lease refusal reason {reason} is not known")]
    Reason {
        /// The reason found.
        reason: u8,
    },
    /// A round that no host can have reached.
    #[error("lease ballot round {round} is out of bounds")]
    Round {
        /// The round found.
        round: u64,
    },
    /// Something set that this kind does not use.
    #[error("a lease datagram of kind {kind} has fields set that it does not use")]
    NotCanonical {
        /// The kind.
        kind: u8,
    },
}

/// Encodes; the HMAC is left zero for the caller to fill.
pub fn encode(datagram: &Datagram) -> [u8; DATAGRAM_LEN] {
    let mut bytes = [0; DATAGRAM_LEN];
    bytes[0] = VERSION;
    bytes[4..20].copy_from_slice(&datagram.cluster);
    put(&mut bytes, 20, datagram.sender);
    put(&mut bytes, 28, datagram.incarnation);
    put(&mut bytes, 36, datagram.counter);
    let b = &mut bytes;
    b[1] = match datagram.message {
        Message::Prepare { ballot, epoch } => {
            put_ballot(b, 44, ballot);
            put(b, 76, epoch);
            1
        }
        Message::Promise { ballot, fence } => {
            put_ballot(b, 44, ballot);
            put(b, 76, fence);
            2
        }
        Message::Propose {
            ballot,
            seq,
            epoch,
            lease,
        } => {
            put_ballot(b, 44, ballot);
            put(b, 68, seq);
            put(b, 76, epoch);
            put(b, 84, lease);
            3
        }
        Message::Accepted {
            ballot,
            seq,
            fitness,
        } => {
            b[3] = fitness;
            put_ballot(b, 44, ballot);
            put(b, 68, seq);
            4
        }
        Message::Nack {
            ballot,
            seq,
            reason,
            holder,
            left,
            promised,
            fence,
        } => {
            b[2] = match reason {
                NackReason::Leased => 1,
                NackReason::Ballot => 2,
                NackReason::Epoch => 3,
            };
            put_ballot(b, 44, ballot);
            put(b, 68, seq);
            put(b, 76, fence);
            put(b, 84, left);
            put(b, 92, holder);
            put_ballot(b, 100, promised);
            5
        }
        Message::Query { seq } => {
            put(b, 68, seq);
            6
        }
        Message::State {
            seq,
            lock,
            left,
            promised,
        } => {
            put_ballot(b, 44, lock);
            put(b, 68, seq);
            put(b, 84, left);
            put_ballot(b, 100, promised);
            7
        }
        Message::Release { ballot, successor } => {
            put_ballot(b, 44, ballot);
            put(b, 92, successor);
            8
        }
    };
    bytes
}

/// Decodes. The caller has checked the HMAC, or checks it next; it is not looked at here.
pub fn decode(bytes: &[u8]) -> Result<Datagram, WireError> {
    let bytes: &[u8; DATAGRAM_LEN] = bytes.try_into().map_err(|_| WireError::Length {
        length: bytes.len(),
    })?;
    if bytes[0] != VERSION {
        return Err(WireError::Version { version: bytes[0] });
    }
    let kind = bytes[1];
    let (ballot, promised) = (ballot_at(bytes, 44)?, ballot_at(bytes, 100)?);
    let (seq, epoch, time, host) = (at(bytes, 68), at(bytes, 76), at(bytes, 84), at(bytes, 92));
    let message = match kind {
        1 => Message::Prepare { ballot, epoch },
        2 => Message::Promise {
            ballot,
            fence: epoch,
        },
        3 => Message::Propose {
            ballot,
            seq,
            epoch,
            lease: time,
        },
        4 => Message::Accepted {
            ballot,
            seq,
            fitness: bytes[3],
        },
        5 => {
            let reason = match bytes[2] {
                1 => NackReason::Leased,
                2 => NackReason::Ballot,
                3 => NackReason::Epoch,
                reason => return Err(WireError::Reason { reason }),
            };
            Message::Nack {
                ballot,
                seq,
                reason,
                holder: host,
                left: time,
                promised,
                fence: epoch,
            }
        }
        6 => Message::Query { seq },
        7 => Message::State {
            seq,
            lock: ballot,
            left: time,
            promised,
        },
        8 => Message::Release {
            ballot,
            successor: host,
        },
        kind => return Err(WireError::Kind { kind }),
    };
    let mut cluster = [0; 16];
    cluster.copy_from_slice(&bytes[4..20]);
    let datagram = Datagram {
        cluster,
        sender: at(bytes, 20),
        incarnation: at(bytes, 28),
        counter: at(bytes, 36),
        message,
    };
    if encode(&datagram)[..AUTHENTICATED_LEN] != bytes[..AUTHENTICATED_LEN] {
        return Err(WireError::NotCanonical { kind });
    }
    Ok(datagram)
}

pub(crate) fn put(bytes: &mut [u8], offset: usize, value: u64) {
    bytes[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_ballot(bytes: &mut [u8], offset: usize, ballot: Ballot) {
    put(bytes, offset, ballot.round);
    put(bytes, offset + 8, ballot.host);
    put(bytes, offset + 16, ballot.incarnation);
}

pub(crate) fn at(bytes: &[u8], offset: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(value)
}

pub(crate) fn ballot_at(bytes: &[u8], offset: usize) -> Result<Ballot, WireError> {
    let round = at(bytes, offset);
    if round > ROUND_MAX {
        return Err(WireError::Round { round });
    }
    Ok(Ballot {
        round,
        host: at(bytes, offset + 8),
        incarnation: at(bytes, offset + 16),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ballots() -> impl Strategy<Value = Ballot> {
        (0..=ROUND_MAX, any::<u64>(), any::<u64>()).prop_map(|(round, host, incarnation)| Ballot {
            round,
            host,
            incarnation,
        })
    }

    fn reasons() -> impl Strategy<Value = NackReason> {
        prop_oneof![
            Just(NackReason::Leased),
            Just(NackReason::Ballot),
            Just(NackReason::Epoch)
        ]
    }

    fn messages() -> impl Strategy<Value = Message> {
        let fields = (ballots(), ballots(), any::<[u64; 5]>(), reasons());
        (0..8, fields).prop_map(
            |(kind, (ballot, promised, [seq, epoch, lease, holder, left], reason))| match kind {
                0 => Message::Prepare { ballot, epoch },
                1 => Message::Promise {
                    ballot,
                    fence: epoch,
                },
                2 => Message::Propose {
                    ballot,
                    seq,
                    epoch,
                    lease,
                },
                3 => Message::Accepted {
                    ballot,
                    seq,
                    fitness: u8::try_from(lease % 256).unwrap_or(0),
                },
                4 => Message::Nack {
                    ballot,
                    seq,
                    reason,
                    holder,
                    left,
                    promised,
                    fence: epoch,
                },
                5 => Message::Query { seq },
                6 => Message::State {
                    seq,
                    lock: ballot,
                    left,
                    promised,
                },
                _ => Message::Release {
                    ballot,
                    successor: holder,
                },
            },
        )
    }

    fn datagrams() -> impl Strategy<Value = Datagram> {
        (any::<[u8; 16]>(), any::<[u64; 3]>(), messages()).prop_map(
            |(cluster, [sender, incarnation, counter], message)| Datagram {
                cluster,
                sender,
                incarnation,
                counter,
                message,
            },
        )
    }

    proptest! {
        #[test]
        fn every_datagram_survives_the_wire(datagram in datagrams()) {
            prop_assert_eq!(decode(&encode(&datagram)), Ok(datagram));
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_canonical(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(datagram) = decode(&bytes) {
                prop_assert_eq!(&encode(&datagram)[..AUTHENTICATED_LEN], &bytes[..AUTHENTICATED_LEN]);
            }
        }

        #[test]
        fn truncated_and_oversized_datagrams_are_refused(datagram in datagrams(), length in 0..400_usize) {
            let mut bytes = encode(&datagram).to_vec();
            bytes.resize(length, 0);
            let refused = decode(&bytes) == Err(WireError::Length { length });
            prop_assert_eq!(refused, length != DATAGRAM_LEN);
        }

        #[test]
        fn a_flipped_bit_is_refused_or_means_something_else(datagram in datagrams(), bit in 0..AUTHENTICATED_LEN * 8) {
            let mut bytes = encode(&datagram);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(decode(&bytes), Ok(datagram));
        }
    }
}
