//! The system call itself and the commands that are used of it (`linux/bpf.h`).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// A command of `bpf(2)` together with the layout of its argument.
///
/// # Safety
/// `Self` has C layout without padding, begins like the union member of `bpf_attr` that `COMMAND`
/// reads, and every address in it is valid for what the command does with it, or zero.
pub(super) unsafe trait Command {
    /// Its number.
    const COMMAND: libc::c_int;
}

/// Gives back what the kernel answered, which is not negative.
pub(super) fn call<C: Command>(argument: &mut C) -> io::Result<libc::c_long> {
    // SAFETY: `argument` is live and writable for exactly the size given, and what it contains is
    // the implementor's promise.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            C::COMMAND,
            std::ptr::from_mut(argument),
            size_of::<C>(),
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(answer)
}

/// For the commands that answer with a descriptor; the kernel sets close-on-exec on all of them.
pub(super) fn descriptor<C: Command>(argument: &mut C) -> io::Result<OwnedFd> {
    let raw = RawFd::try_from(call(argument)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// A name as the kernel takes it: at most fifteen bytes of letters, digits, `_` and `.`.
pub(super) fn name(text: &str) -> [u8; 16] {
    let mut name = [0; 16];
    let length = text.len().min(15);
    name[..length].copy_from_slice(&text.as_bytes()[..length]);
    name
}

/// `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
pub(super) struct GetInfo {
    pub(super) descriptor: RawFd,
    pub(super) bytes: u32,
    pub(super) info: u64,
}

// SAFETY: the layout is that of `bpf_attr.info`; `info` is set to a live structure of `bytes` by
// the two callers.
unsafe impl Command for GetInfo {
    const COMMAND: libc::c_int = 15;
}

/// `BPF_PROG_GET_FD_BY_ID` (13) and `BPF_MAP_GET_FD_BY_ID` (14). Both need CAP_SYS_ADMIN.
#[repr(C)]
pub(super) struct ById<const COMMAND: libc::c_int> {
    pub(super) id: u32,
    pub(super) next_id: u32,
    pub(super) open_flags: u32,
}

impl<const COMMAND: libc::c_int> ById<COMMAND> {
    pub(super) fn open(id: u32) -> io::Result<OwnedFd> {
        descriptor(&mut Self {
            id,
            next_id: 0,
            open_flags: 0,
        })
    }
}

// SAFETY: the layout is that of the union member for the commands by id; it holds no address.
unsafe impl<const COMMAND: libc::c_int> Command for ById<COMMAND> {
    const COMMAND: libc::c_int = COMMAND;
}
