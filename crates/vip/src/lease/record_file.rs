//! The record's file: two slots on tmpfs, and the lock that keeps two processes of one host apart (P10).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use khactl_lease::{
    RECORD_LEN, Record, RecordBinding, Stamp, decode_record, encode_slot, slot_offset,
};
use rustix::fs::{FlockOperation, OFlags, flock};

/// The open and locked file. The lock goes with the process, so holding it proves that no other process has it.
pub struct RecordFile {
    file: File,
    binding: RecordBinding,
    /// Of the last write.
    stamp: Stamp,
}

impl RecordFile {
    /// Opens (or makes, 0600) and locks the file; gives the record of this boot if there is one. `slept`: for how long the host
    /// has slept since boot, in nanoseconds.
    ///
    /// Fails with [`io::ErrorKind::WouldBlock`] while another process has it.
    pub fn open(
        path: &Path,
        binding: RecordBinding,
        slept: u64,
    ) -> io::Result<(Self, Option<Record>)> {
        let flags = (OFlags::NOFOLLOW | OFlags::CLOEXEC).bits().cast_signed();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags)
            .open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let mut bytes = [0; RECORD_LEN];
        let mut filled = 0;
        while filled < RECORD_LEN {
            match file.read_at(&mut bytes[filled..], filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        // Written back whole, so that later writes need no new page and cannot fail for want of one.
        file.write_all_at(&bytes, 0)?;
        let found = decode_record(&binding, &bytes);
        let none = Stamp { sequence: 0, slept };
        let stamp = found.map_or(none, |(stamp, _)| stamp);
        Ok((
            Self {
                file,
                binding,
                stamp,
            },
            found.map(|(_, record)| record),
        ))
    }

    /// Writes the older slot. A process killed meanwhile leaves the newer one.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        let next = Stamp {
            sequence: self.stamp.sequence.wrapping_add(1),
            ..self.stamp
        };
        let slot = encode_slot(&self.binding, next, record);
        self.file
            .write_all_at(&slot, slot_offset(next.sequence) as u64)?;
        self.stamp = next;
        Ok(())
    }

    /// For how long the host had slept, in nanoseconds, when the record was written that was found, or by what was said since.
    pub fn slept(&self) -> u64 {
        self.stamp.slept
    }

    /// The lease knows that the host has slept for so long: what is written from now on is of after that.
    pub fn set_slept(&mut self, slept: u64) {
        self.stamp.slept = slept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINDING: RecordBinding = RecordBinding {
        boot_id: [1; 16],
        cluster: [2; 16],
        host: 3,
    };

    #[test]
    fn a_record_is_found_again_by_the_next_process_and_by_no_two_at_once() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("lease.record");
        let (mut file, found) = RecordFile::open(&path, BINDING, 7).expect("opens");
        assert_eq!(found, None);
        for fence in 1..=3 {
            file.write(&Record {
                fence,
                ..Record::default()
            })
            .expect("writes");
        }
        let second = RecordFile::open(&path, BINDING, 7)
            .err()
            .map(|error| error.kind());
        assert_eq!(second, Some(io::ErrorKind::WouldBlock));
        drop(file);
        let (mut file, found) = RecordFile::open(&path, BINDING, 9).expect("opens");
        assert_eq!(found.map(|record| record.fence), Some(3));
        // It was written before the host slept for the last time, and is so until the lease has taken note of that.
        assert_eq!(file.slept(), 7);
        let record = found.expect("found");
        file.write(&record).expect("writes");
        drop(file);
        let (mut file, _) = RecordFile::open(&path, BINDING, 9).expect("opens");
        assert_eq!(file.slept(), 7);
        file.set_slept(9);
        file.write(&record).expect("writes");
        drop(file);
        let (file, _) = RecordFile::open(&path, BINDING, 9).expect("opens");
        assert_eq!(file.slept(), 9);
    }

    #[test]
    fn a_file_cut_short_or_of_another_boot_holds_no_record() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("lease.record");
        let (mut file, _) = RecordFile::open(&path, BINDING, 7).expect("opens");
        file.write(&Record {
            fence: 1,
            ..Record::default()
        })
        .expect("writes");
        drop(file);
        let other = RecordBinding {
            boot_id: [9; 16],
            ..BINDING
        };
        assert_eq!(RecordFile::open(&path, other, 7).expect("opens").1, None);
        std::fs::write(&path, [1, 2, 3]).expect("writes");
        assert_eq!(RecordFile::open(&path, BINDING, 7).expect("opens").1, None);
    }
}
