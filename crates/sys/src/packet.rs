//! Sockets of whole Ethernet frames (`AF_PACKET`): one that sends, for announcing an address, and one that receives what
//! a filter lets through, for noticing who else has it.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::capture::Instruction;

/// A socket whose every write is one frame sent by the interface `index`; it receives nothing.
///
/// Needs CAP_NET_RAW. Errors are the kernel's: EPERM without that, ENODEV for an interface that
/// is not there.
pub fn frame_socket(index: u32) -> io::Result<OwnedFd> {
    let socket = unbound()?;
    bind(&socket, index, 0)?;
    Ok(socket)
}

/// A socket that receives the frames of one kind (`ethertype`, 0x0806 for ARP) that arrive at the interface `index` and
/// that `filter` does not cut to nothing; it never receives what this host sends.
///
/// The filter sees a frame from its destination address on. Reads never block. Errors are the kernel's: EPERM without
/// CAP_NET_RAW, ENODEV for an interface that is not there, EINVAL for a program that is none.
pub fn listening_socket(index: u32, ethertype: u16, filter: &[Instruction]) -> io::Result<OwnedFd> {
    let socket = unbound()?;
    // Before the binding: until then nothing arrives, and afterwards nothing unfiltered.
    attach(&socket, filter)?;
    bind(&socket, index, ethertype)?;
    Ok(socket)
}

/// Bound to no protocol yet, it receives nothing.
fn unbound() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes numbers only; the result is checked before it is used.
    let raw = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just returned by the kernel and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn attach(socket: &OwnedFd, filter: &[Instruction]) -> io::Result<()> {
    let mut program: Vec<libc::sock_filter> = filter
        .iter()
        .map(|instruction| libc::sock_filter {
            code: instruction.code,
            jt: instruction.if_true,
            jf: instruction.if_false,
            k: instruction.value,
        })
        .collect();
    let described = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_mut_ptr(),
    };
    let size =
        libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).map_err(io::Error::other)?;
    // SAFETY: `described` and the program that it points to outlive the call, which copies both; the length is the
    // program's own, and the kernel checks every instruction.
    let attached = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const described).cast(),
            size,
        )
    };
    if attached < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn bind(socket: &OwnedFd, index: u32, ethertype: u16) -> io::Result<()> {
    // SAFETY: sockaddr_ll is plain data, for which all zeroes is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    address.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    address.sll_protocol = ethertype.to_be();
    let size =
        libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    // SAFETY: the pointer is to a live sockaddr_ll and the length is its size; the kernel only
    // reads it during the call.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) };
    if bound < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
