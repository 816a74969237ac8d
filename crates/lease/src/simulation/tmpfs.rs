//! The record's file of a simulated host, read by the shipped codec; a write can be torn.

use crate::{
    RECORD_LEN, Record, RecordBinding, SLOT_LEN, Stamp, decode_record, encode_slot, slot_offset,
};

#[derive(Clone)]
enum Slot {
    Empty,
    Whole(Stamp, Box<Record>),
    Torn(Box<[u8; SLOT_LEN]>),
}

/// Two slots. They become bytes when somebody reads them.
pub(super) struct Tmpfs {
    binding: RecordBinding,
    slots: [Slot; 2],
    /// Of the last write.
    stamp: Stamp,
}

impl Tmpfs {
    pub(super) fn new(host: u64, boot: u64) -> Self {
        let mut boot_id = [0; 16];
        boot_id[..8].copy_from_slice(&boot.to_le_bytes());
        let binding = RecordBinding {
            boot_id,
            cluster: super::CLUSTER,
            host,
        };
        Self {
            binding,
            slots: [Slot::Empty, Slot::Empty],
            stamp: Stamp::default(),
        }
    }

    /// What a process finds when it opens the file on a host that has slept for so long; it goes on with the stamp that it finds.
    pub(super) fn open(&mut self, slept: u64) -> Option<Record> {
        let mut bytes = [0; RECORD_LEN];
        for place in 0..2 {
            bytes[place * SLOT_LEN..(place + 1) * SLOT_LEN].copy_from_slice(&self.bytes(place));
        }
        let found = decode_record(&self.binding, &bytes);
        let none = Stamp { sequence: 0, slept };
        self.stamp = found.map_or(none, |(stamp, _)| stamp);
        found.map(|(_, record)| record)
    }

    /// For how long the host had slept when the last record was written.
    pub(super) fn slept(&self) -> u64 {
        self.stamp.slept
    }

    /// The process has seen that the host slept: what it writes from now on is of after that.
    pub(super) fn set_slept(&mut self, slept: u64) {
        self.stamp.slept = slept;
    }

    pub(super) fn write(&mut self, record: &Record) {
        self.stamp.sequence += 1;
        self.slots[place(self.stamp.sequence)] = Slot::Whole(self.stamp, Box::new(*record));
    }

    /// A write that ended after `length` bytes.
    pub(super) fn tear(&mut self, record: &Record, length: usize) {
        let next = Stamp {
            sequence: self.stamp.sequence + 1,
            ..self.stamp
        };
        let mut bytes = self.bytes(place(next.sequence));
        let written = encode_slot(&self.binding, next, record);
        bytes[..length].copy_from_slice(&written[..length]);
        self.slots[place(next.sequence)] = Slot::Torn(Box::new(bytes));
    }

    fn bytes(&self, place: usize) -> [u8; SLOT_LEN] {
        match &self.slots[place] {
            Slot::Empty => [0; SLOT_LEN],
            Slot::Whole(stamp, record) => encode_slot(&self.binding, *stamp, record),
            Slot::Torn(bytes) => **bytes,
        }
    }
}

fn place(sequence: u64) -> usize {
    slot_offset(sequence) / SLOT_LEN
}
