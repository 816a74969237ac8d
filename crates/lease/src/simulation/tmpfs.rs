//! The record's file of a simulated host, read by the shipped codec; a write can be torn.

use crate::{RECORD_LEN, Record, RecordBinding, SLOT_LEN, decode_record, encode_slot, slot_offset};

#[derive(Clone)]
enum Slot {
    Empty,
    Whole(u64, Box<Record>),
    Torn(Box<[u8; SLOT_LEN]>),
}

/// Two slots. They become bytes when somebody reads them.
pub(super) struct Tmpfs {
    binding: RecordBinding,
    slots: [Slot; 2],
    sequence: u64,
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
            sequence: 0,
        }
    }

    /// What a process finds when it opens the file; it goes on with the sequence number that it finds.
    pub(super) fn open(&mut self) -> Option<Record> {
        let mut bytes = [0; RECORD_LEN];
        for place in 0..2 {
            bytes[place * SLOT_LEN..(place + 1) * SLOT_LEN].copy_from_slice(&self.bytes(place));
        }
        let found = decode_record(&self.binding, &bytes);
        self.sequence = found.map_or(0, |(sequence, _)| sequence);
        found.map(|(_, record)| record)
    }

    pub(super) fn write(&mut self, record: &Record) {
        self.sequence += 1;
        self.slots[place(self.sequence)] = Slot::Whole(self.sequence, Box::new(*record));
    }

    /// A write that ended after `length` bytes.
    pub(super) fn tear(&mut self, record: &Record, length: usize) {
        let next = self.sequence + 1;
        let mut bytes = self.bytes(place(next));
        let written = encode_slot(&self.binding, next, record);
        bytes[..length].copy_from_slice(&written[..length]);
        self.slots[place(next)] = Slot::Torn(Box::new(bytes));
    }

    fn bytes(&self, place: usize) -> [u8; SLOT_LEN] {
        match &self.slots[place] {
            Slot::Empty => [0; SLOT_LEN],
            Slot::Whole(sequence, record) => encode_slot(&self.binding, *sequence, record),
            Slot::Torn(bytes) => **bytes,
        }
    }
}

fn place(sequence: u64) -> usize {
    slot_offset(sequence) / SLOT_LEN
}
