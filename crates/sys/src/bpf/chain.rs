//! The chain of programs that an interface asks about each packet before any other filter (TCX,
//! since Linux 6.6). What is in it stays there until it is taken out, whatever becomes of the
//! process that put it there.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use super::call::{Command, call};
use super::program::Program;

/// `BPF_F_BEFORE`: at the head, if nothing else is named.
const BEFORE: u32 = 1 << 3;
/// More than anybody chains.
const PROGRAMS_MAX: usize = 64;

/// Which packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Chain {
    /// Those that come in (`BPF_TCX_INGRESS`).
    In = 46,
    /// Those that go out (`BPF_TCX_EGRESS`).
    Out = 47,
}

/// `BPF_PROG_ATTACH` (8) and `BPF_PROG_DETACH` (9).
#[repr(C)]
struct Change<const COMMAND: libc::c_int> {
    interface: u32,
    program: RawFd,
    chain: u32,
    flags: u32,
    replaced: u32,
    relative: u32,
    revision: u64,
}

// SAFETY: the layout is that of the union member for attaching and detaching; it holds no address.
unsafe impl<const COMMAND: libc::c_int> Command for Change<COMMAND> {
    const COMMAND: libc::c_int = COMMAND;
}

#[repr(C)]
struct Query {
    interface: u32,
    chain: u32,
    wanted_flags: u32,
    attach_flags: u32,
    program_ids: u64,
    count: u32,
    padding: u32,
    program_flags: u64,
    link_ids: u64,
    link_flags: u64,
    revision: u64,
}

// SAFETY: the layout is that of `bpf_attr.query`; `programs` sets the one address that is not zero
// to room for as many numbers as `count` says.
unsafe impl Command for Query {
    const COMMAND: libc::c_int = 16;
}

impl Chain {
    /// The kernel's numbers of the programs of an interface, in the order in which they are asked.
    /// `InvalidInput` from a kernel without such chains.
    pub fn programs(self, interface: u32) -> io::Result<Vec<u32>> {
        let mut ids = [0_u32; PROGRAMS_MAX];
        let mut query = Query {
            interface,
            chain: self as u32,
            wanted_flags: 0,
            attach_flags: 0,
            program_ids: ids.as_mut_ptr().expose_provenance() as u64,
            count: u32::try_from(PROGRAMS_MAX).map_err(io::Error::other)?,
            padding: 0,
            program_flags: 0,
            link_ids: 0,
            link_flags: 0,
            revision: 0,
        };
        match call(&mut query) {
            Ok(_) => Ok(ids[..(query.count as usize).min(PROGRAMS_MAX)].to_vec()),
            // An interface without a chain.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Puts a program at the head. `AlreadyExists` if it is in the chain.
    pub fn put_first(self, interface: u32, program: &Program) -> io::Result<()> {
        call(&mut self.change::<8>(interface, program, BEFORE)).map(|_| ())
    }

    /// Takes a program out. `NotFound` if it is not in the chain.
    pub fn take_out(self, interface: u32, program: &Program) -> io::Result<()> {
        call(&mut self.change::<9>(interface, program, 0)).map(|_| ())
    }

    fn change<const COMMAND: libc::c_int>(
        self,
        interface: u32,
        program: &Program,
        flags: u32,
    ) -> Change<COMMAND> {
        Change {
            interface,
            program: program.as_fd().as_raw_fd(),
            chain: self as u32,
            flags,
            replaced: 0,
            relative: 0,
            revision: 0,
        }
    }
}
