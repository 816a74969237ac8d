//! When a majority was last known to be reached, on tmpfs: what the fence of a process that was killed knew, for the one
//! that comes after it (docs/fence.md, F7). What it says is never later than the truth, and what cannot be read is as if no
//! majority had ever been reached; so neither a lost write nor half a one keeps anything alive.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use khactl_lease::RecordBinding;
use rustix::fs::OFlags;

/// What it belongs to, the time, and the time again with every bit turned.
const LEN: usize = 56;
const TIME_AT: usize = 40;

/// A contact that is younger than the written one by less than this is not written: the fence asks more seldom, and who
/// is alone is in contact always.
const STEP: u64 = 100_000_000;

/// The open file. Who has the lock on the lease's record is its only writer.
#[derive(Debug)]
pub(super) struct ContactFile {
    file: File,
    binding: RecordBinding,
    written: u64,
}

impl ContactFile {
    /// Opens (or makes, 0600) the file; gives the contact of this boot, 0 if there was none.
    pub(super) fn open(path: &Path, binding: RecordBinding) -> io::Result<(Self, u64)> {
        let flags = (OFlags::NOFOLLOW | OFlags::CLOEXEC).bits().cast_signed();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags)
            .open(path)?;
        let mut bytes = [0; LEN];
        let whole = match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
            Err(error) => return Err(error),
        };
        let found = whole.then(|| decode(&binding, &bytes)).flatten();
        let contact = found.unwrap_or(0);
        // Whole, so that later writes need no new page and cannot fail for want of one.
        file.write_all_at(&encode(&binding, contact), 0)?;
        let opened = Self {
            file,
            binding,
            written: contact,
        };
        Ok((opened, contact))
    }

    /// A majority was reached then, in nanoseconds of `CLOCK_BOOTTIME`. Neither allocates nor waits.
    pub(super) fn note(&mut self, contact: u64) {
        if contact < self.written.saturating_add(STEP) {
            return;
        }
        // What is not written lets the next process end sooner what it is to guard.
        let bytes = encode(&self.binding, contact);
        if self.file.write_all_at(&bytes, 0).is_ok() {
            self.written = contact;
        }
    }
}

fn encode(binding: &RecordBinding, contact: u64) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    bytes[..16].copy_from_slice(&binding.boot_id);
    bytes[16..32].copy_from_slice(&binding.cluster);
    bytes[32..TIME_AT].copy_from_slice(&binding.host.to_le_bytes());
    bytes[TIME_AT..TIME_AT + 8].copy_from_slice(&contact.to_le_bytes());
    bytes[TIME_AT + 8..].copy_from_slice(&(!contact).to_le_bytes());
    bytes
}

fn decode(binding: &RecordBinding, bytes: &[u8; LEN]) -> Option<u64> {
    let time: [u8; 8] = bytes.get(TIME_AT..TIME_AT + 8)?.try_into().ok()?;
    let contact = u64::from_le_bytes(time);
    (*bytes == encode(binding, contact)).then_some(contact)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINDING: RecordBinding = RecordBinding {
        boot_id: [1; 16],
        cluster: [2; 16],
        host: 3,
    };

    fn contact(path: &Path, binding: RecordBinding) -> u64 {
        ContactFile::open(path, binding).expect("opens").1
    }

    #[test]
    fn the_last_contact_is_found_by_the_next_process_and_never_falls() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("lease.contact");
        let (mut file, found) = ContactFile::open(&path, BINDING).expect("opens");
        assert_eq!(found, 0);
        for time in [5 * STEP, 5 * STEP + 1, 3 * STEP] {
            file.note(time);
        }
        drop(file);
        assert_eq!(contact(&path, BINDING), 5 * STEP);
        let (mut file, _) = ContactFile::open(&path, BINDING).expect("opens");
        file.note(4 * STEP);
        assert_eq!(contact(&path, BINDING), 5 * STEP);
        file.note(6 * STEP);
        assert_eq!(contact(&path, BINDING), 6 * STEP);
    }

    #[test]
    fn half_a_file_and_one_of_another_boot_tell_of_no_contact() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("lease.contact");
        let (mut file, _) = ContactFile::open(&path, BINDING).expect("opens");
        file.note(5 * STEP);
        let whole = std::fs::read(&path).expect("readable");
        let other = RecordBinding {
            boot_id: [9; 16],
            ..BINDING
        };
        assert_eq!(contact(&path, other), 0);
        for kept in [0, 7, LEN - 1] {
            std::fs::write(&path, &whole[..kept]).expect("writable");
            assert_eq!(contact(&path, BINDING), 0, "{kept} bytes");
        }
        // The time was written, and the process killed before the rest was.
        let mut torn = whole.clone();
        torn[TIME_AT] ^= 1;
        std::fs::write(&path, torn).expect("writable");
        assert_eq!(contact(&path, BINDING), 0);
        std::fs::write(&path, whole).expect("writable");
        assert_eq!(contact(&path, BINDING), 5 * STEP);
    }
}
