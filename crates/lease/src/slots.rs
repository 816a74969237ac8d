//! The record as bytes: two slots, written in turn, so that one is always whole.
//!
//! A slot is bound to the boot, the cluster and the host; its checksum comes last and covers the rest. The newest valid
//! slot counts. A process killed while it wrote leaves the older one, and what it had not finished it had not answered.

use crate::checksum::crc64;
use crate::wire::{at, ballot_at, put, put_ballot};
use crate::{Ballot, Configuration, Lock, MEMBERS_MAX, Member, Record};

/// The size of one slot.
pub const SLOT_LEN: usize = 512;
/// The size of the record's file.
pub const RECORD_LEN: usize = 2 * SLOT_LEN;

const MAGIC: u64 = u64::from_le_bytes(*b"khlease1");
const CHECKSUM_AT: usize = SLOT_LEN - 8;
const MEMBERS_AT: usize = 256;
const MEMBER_LEN: usize = 16;

/// What a record belongs to. Another boot's, cluster's or host's record is no record (A8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordBinding {
    /// The kernel's boot id.
    pub boot_id: [u8; 16],
    /// The cluster's id.
    pub cluster: [u8; 16],
    /// The host's id.
    pub host: u64,
}

/// When a record was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Rises with every write.
    pub sequence: u64,
    /// For how long the host had slept since boot, in nanoseconds: CLOCK_BOOTTIME less CLOCK_MONOTONIC. If it has slept again
    /// since ([`has_slept`]), the clock may have jumped ahead of the times in the record, and who starts with it starts
    /// with a jump (P7).
    pub slept: u64,
}

/// The clocks are not read at one moment; no machine sleeps for less than this.
const SLEEP_MIN: u64 = 1_000_000;

/// Whether a host that had slept for so long then, and for so long now, has slept in between. In nanoseconds.
pub fn has_slept(then: u64, now: u64) -> bool {
    then.abs_diff(now) > SLEEP_MIN
}

/// Where in the file the slot with this sequence number goes.
pub fn slot_offset(sequence: u64) -> usize {
    if sequence.is_multiple_of(2) {
        0
    } else {
        SLOT_LEN
    }
}

/// One slot.
pub fn encode_slot(binding: &RecordBinding, stamp: Stamp, record: &Record) -> [u8; SLOT_LEN] {
    let mut bytes = [0; SLOT_LEN];
    let b = &mut bytes;
    put(b, 0, MAGIC);
    put(b, 8, stamp.sequence);
    b[16..32].copy_from_slice(&binding.boot_id);
    b[32..48].copy_from_slice(&binding.cluster);
    put(b, 48, binding.host);
    put_ballot(b, 56, record.promised);
    put_ballot(b, 80, record.floor);
    put_ballot(b, 104, record.ballot);
    put_ballot(b, 128, record.released);
    if let Some(lock) = record.lock {
        put_ballot(b, 152, lock.ballot);
        put(b, 176, lock.expiry);
    }
    put(b, 184, record.fence);
    put(b, 192, record.silent_until);
    put(b, 200, record.highest_round);
    put(b, 208, u64::from(record.ready));
    put(b, 216, record.configuration.epoch());
    put(b, 224, record.configuration.members().len() as u64);
    put(b, 232, stamp.slept);
    for (place, member) in record.configuration.members().iter().enumerate() {
        let start = MEMBERS_AT + place * MEMBER_LEN;
        put(b, start, member.id);
        b[start + 8] = member.preference;
        b[start + 9] = u8::from(member.proposer);
    }
    let checksum = crc64(&bytes[..CHECKSUM_AT]);
    put(&mut bytes, CHECKSUM_AT, checksum);
    bytes
}

/// The newest valid slot of a record's file and its stamp; nothing if there is none.
pub fn decode_record(binding: &RecordBinding, bytes: &[u8]) -> Option<(Stamp, Record)> {
    let (slots, _) = bytes.as_chunks::<SLOT_LEN>();
    slots
        .iter()
        .take(2)
        .filter_map(|slot| decode_slot(binding, slot))
        .max_by_key(|(stamp, _)| stamp.sequence)
}

fn decode_slot(binding: &RecordBinding, bytes: &[u8; SLOT_LEN]) -> Option<(Stamp, Record)> {
    let bound = bytes[16..32] == binding.boot_id
        && bytes[32..48] == binding.cluster
        && at(bytes, 48) == binding.host;
    if at(bytes, 0) != MAGIC || at(bytes, CHECKSUM_AT) != crc64(&bytes[..CHECKSUM_AT]) || !bound {
        return None;
    }
    let ballot = |offset| ballot_at(bytes, offset).ok();
    let lock = Some(Lock {
        ballot: ballot(152)?,
        expiry: at(bytes, 176),
    })
    .filter(|lock| lock.ballot != Ballot::NONE);
    let count = usize::try_from(at(bytes, 224))
        .ok()
        .filter(|count| *count <= MEMBERS_MAX)?;
    let mut members = [Member::default(); MEMBERS_MAX];
    for (place, member) in members[..count].iter_mut().enumerate() {
        let start = MEMBERS_AT + place * MEMBER_LEN;
        *member = Member {
            id: at(bytes, start),
            preference: bytes[start + 8],
            proposer: bytes[start + 9] == 1,
        };
    }
    let configuration = match at(bytes, 216) {
        0 => Configuration::default(),
        epoch => Configuration::new(epoch, &members[..count]).ok()?,
    };
    let record = Record {
        promised: ballot(56)?,
        lock,
        floor: ballot(80)?,
        fence: at(bytes, 184),
        silent_until: at(bytes, 192),
        ready: at(bytes, 208) == 1,
        configuration,
        highest_round: at(bytes, 200),
        ballot: ballot(104)?,
        released: ballot(128)?,
    };
    let stamp = Stamp {
        sequence: at(bytes, 8),
        slept: at(bytes, 232),
    };
    Some((stamp, record))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BINDING: RecordBinding = RecordBinding {
        boot_id: [1; 16],
        cluster: [2; 16],
        host: 3,
    };

    fn records() -> impl Strategy<Value = Record> {
        let ballot = || {
            (1..1_u64 << 62, any::<[u64; 2]>()).prop_map(|(round, [host, incarnation])| Ballot {
                round,
                host,
                incarnation,
            })
        };
        let lock = prop::option::of(
            (ballot(), any::<u64>()).prop_map(|(ballot, expiry)| Lock { ballot, expiry }),
        );
        let members =
            prop::collection::btree_map(1..u64::MAX, (any::<u8>(), any::<bool>()), 1..=MEMBERS_MAX);
        let configuration = (1..u64::MAX, members).prop_map(|(epoch, members)| {
            let members: Vec<_> = members
                .into_iter()
                .map(|(id, (preference, proposer))| Member {
                    id,
                    preference,
                    proposer,
                })
                .collect();
            Configuration::new(epoch, &members).expect("valid")
        });
        let numbers = any::<[u64; 3]>();
        let rest = (prop::option::of(configuration), any::<bool>(), numbers);
        ([ballot(), ballot(), ballot(), ballot()], lock, rest).prop_map(
            |(
                [promised, floor, ballot, released],
                lock,
                (configuration, ready, [fence, silent, highest]),
            )| Record {
                promised,
                lock,
                floor,
                fence,
                silent_until: silent,
                ready,
                configuration: configuration.unwrap_or_default(),
                highest_round: highest,
                ballot,
                released,
            },
        )
    }

    /// Each with a sleep of its own.
    fn stamp(sequence: u64) -> Stamp {
        Stamp {
            sequence,
            slept: !sequence,
        }
    }

    fn file(slots: &[(u64, Record)]) -> Vec<u8> {
        let mut bytes = vec![0; RECORD_LEN];
        for (sequence, record) in slots {
            let start = slot_offset(*sequence);
            bytes[start..start + SLOT_LEN].copy_from_slice(&encode_slot(
                &BINDING,
                stamp(*sequence),
                record,
            ));
        }
        bytes
    }

    proptest! {
        #[test]
        fn the_newest_record_is_read_back(older in records(), newer in records(), sequence in 0..u64::MAX) {
            let bytes = file(&[(sequence, older), (sequence + 1, newer)]);
            prop_assert_eq!(decode_record(&BINDING, &bytes), Some((stamp(sequence + 1), newer)));
        }

        #[test]
        fn a_torn_write_leaves_the_older_record(
            older in records(), newer in records(), sequence in 0..u64::MAX, cut in 0..SLOT_LEN,
        ) {
            let mut bytes = file(&[(sequence, older)]);
            let start = slot_offset(sequence + 1);
            let torn = encode_slot(&BINDING, stamp(sequence + 1), &newer);
            bytes[start..start + cut].copy_from_slice(&torn[..cut]);
            let whole = torn[cut..].iter().all(|byte| *byte == 0);
            let expected = if whole { (stamp(sequence + 1), newer) } else { (stamp(sequence), older) };
            prop_assert_eq!(decode_record(&BINDING, &bytes), Some(expected));
        }

        #[test]
        fn a_flipped_bit_makes_a_slot_no_record(record in records(), sequence: u64, bit in 0..SLOT_LEN * 8) {
            let mut bytes = file(&[(sequence, record)]);
            bytes[slot_offset(sequence) + bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode_record(&BINDING, &bytes), None);
        }

        #[test]
        fn arbitrary_bytes_are_no_record(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            prop_assert_eq!(decode_record(&BINDING, &bytes), None);
        }

        #[test]
        fn a_record_of_another_boot_cluster_or_host_is_none(record in records(), sequence: u64) {
            let bytes = file(&[(sequence, record)]);
            for other in [
                RecordBinding { boot_id: [9; 16], ..BINDING },
                RecordBinding { cluster: [9; 16], ..BINDING },
                RecordBinding { host: 9, ..BINDING },
            ] {
                prop_assert_eq!(decode_record(&other, &bytes), None);
            }
        }
    }
}
