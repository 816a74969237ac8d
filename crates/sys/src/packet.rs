//! Sockets that send whole Ethernet frames (`AF_PACKET`), for announcing an address.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A socket whose every write is one frame sent by the interface `index`; it receives nothing.
///
/// Needs CAP_NET_RAW. Errors are the kernel's: EPERM without that, ENODEV for an interface that
/// is not there.
pub fn frame_socket(index: u32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: takes numbers only; the result is checked before it is used.
    let raw = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just returned by the kernel and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: sockaddr_ll is plain data, for which all zeroes is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    address.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    let size =
        libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    // SAFETY: the pointer is to a live sockaddr_ll and the length is its size; the kernel only
    // reads it during the call.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) };
    if bound < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}
