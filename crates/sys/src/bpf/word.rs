//! One 64-bit word that lives in the kernel: a program reads it for each packet, a process writes
//! it by one store to mapped memory. It lives as long as anybody, program or process, refers to it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::call::{ById, Command, GetInfo, call, descriptor, name};

/// `BPF_MAP_TYPE_ARRAY`.
const ARRAY: u32 = 2;
/// `BPF_F_MMAPABLE`, since Linux 5.5.
const MAPPABLE: u32 = 1 << 10;
/// `BPF_MAP_GET_FD_BY_ID`.
const MAP_BY_ID: libc::c_int = 14;

/// What is mapped; the kernel makes a page of it.
const BYTES: usize = size_of::<AtomicU64>();

/// The map: an array of a single word.
#[derive(Debug)]
pub struct WordMap {
    descriptor: OwnedFd,
}

/// The word itself, in this process's memory.
#[derive(Debug)]
pub struct Word {
    place: NonNull<AtomicU64>,
}

#[repr(C)]
struct Create {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

// SAFETY: the layout is that of `bpf_attr` for `BPF_MAP_CREATE` up to the name; it holds no address.
unsafe impl Command for Create {
    const COMMAND: libc::c_int = 0;
}

/// `bpf_map_info` up to the flags.
#[repr(C)]
#[derive(Default)]
struct Info {
    map_type: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

impl WordMap {
    /// A new word, zero. Needs CAP_BPF (EPERM without) and a kernel with `bpf(2)` (ENOSYS without).
    pub fn new(label: &str) -> io::Result<Self> {
        let descriptor = descriptor(&mut Create {
            map_type: ARRAY,
            key_size: 4,
            value_size: 8,
            max_entries: 1,
            map_flags: MAPPABLE,
            inner_map_fd: 0,
            numa_node: 0,
            map_name: name(label),
        })?;
        Ok(Self { descriptor })
    }

    /// A word that a program refers to already. `InvalidData` if that map is of another shape.
    pub fn by_id(id: u32) -> io::Result<Self> {
        let descriptor = ById::<MAP_BY_ID>::open(id)?;
        let mut info = Info::default();
        call(&mut GetInfo {
            descriptor: descriptor.as_raw_fd(),
            bytes: 24,
            info: (&raw mut info).expose_provenance() as u64,
        })?;
        let is_word = info.map_type == ARRAY
            && info.value_size == 8
            && info.max_entries == 1
            && info.map_flags & MAPPABLE != 0;
        if !is_word {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("BPF map {id} is not a single word"),
            ));
        }
        Ok(Self { descriptor })
    }

    /// Maps the word into this process.
    pub fn word(&self) -> io::Result<Word> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                BYTES,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &self.descriptor,
                0,
            )?
        };
        let place = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Word { place })
    }

    /// For a program's reference to it.
    pub fn raw(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

impl AsFd for WordMap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

// SAFETY: the mapping belongs to the process, not to a thread, and every access to it is atomic.
unsafe impl Send for Word {}
// SAFETY: as above.
unsafe impl Sync for Word {}

impl Word {
    /// One store; the next packet that any processor judges sees it.
    pub fn store(&self, value: u64) {
        self.get().store(value, Ordering::SeqCst);
    }

    /// What stands in it.
    pub fn load(&self) -> u64 {
        self.get().load(Ordering::SeqCst)
    }

    fn get(&self) -> &AtomicU64 {
        // SAFETY: the mapping is page-aligned, at least a word long, readable and writable, and
        // lives until `self` is dropped; all who share it use atomic accesses of eight bytes.
        unsafe { self.place.as_ref() }
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `WordMap::word` with this length, and the only
        // references into it are bounded by borrows of `self`.
        let unmapped = unsafe { munmap(self.place.as_ptr().cast(), BYTES) };
        debug_assert!(unmapped.is_ok(), "a mapping of our own can be unmapped");
    }
}
