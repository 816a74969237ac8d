//! Sockets that hear whole Ethernet frames (`AF_PACKET`), each with the kernel's own time of it.
//!
//! They hear what comes in by any interface of the network namespace in which they were opened, and
//! never what goes out. They send nothing.

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::clock;

/// For the frames of a second or more in which nobody reads, in bytes.
const BUFFER: libc::c_int = 16 << 20;

/// Room for one time stamp and its header.
type Control = [u64; 16];

/// One step of a classic BPF program, as `tcpdump -dd` prints it: the kernel keeps the first so many
/// bytes of a frame as the program returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How many instructions to skip if the comparison holds.
    pub if_true: u8,
    /// How many to skip if not.
    pub if_false: u8,
    /// The offset, the value to compare with, or the result.
    pub value: u32,
}

/// One frame that was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The index of the interface by which it came in.
    pub interface: u32,
    /// When the kernel took it in (`CLOCK_BOOTTIME`).
    pub at: Duration,
    /// How many bytes of the buffer hold it; a longer frame is cut off there.
    pub len: usize,
}

/// A socket that hears.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
}

impl Capture {
    /// Hears from now on what `filter` lets pass.
    ///
    /// Needs CAP_NET_RAW and, for its buffer, CAP_NET_ADMIN. Errors are the kernel's: EPERM without
    /// them, EINVAL for a filter that it does not accept.
    pub fn open(filter: &[Instruction]) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // Without a protocol it hears nothing until it is bound, when the filter is in force.
        // SAFETY: takes numbers only; the result is checked before it is used.
        let raw = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just returned by the kernel and nobody else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(raw) };
        let capture = Self { socket };
        capture.attach(filter)?;
        let on: libc::c_int = 1;
        capture.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &on)?;
        capture.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &BUFFER)?;
        capture.set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &on)?;
        capture.bind()?;
        Ok(capture)
    }

    /// Waits until there is a frame, or until `most` has passed; tells which.
    pub fn wait(&self, most: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(most).map_err(io::Error::other)?;
        let mut fds = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The next frame; none if nothing is left to be read. ENETDOWN tells once that an interface
    /// went down; what comes in by others is heard all the same.
    pub fn next(&self, buffer: &mut [u8]) -> io::Result<Option<Heard>> {
        let mut part = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        let mut control: Control = [0; 16];
        // SAFETY: sockaddr_ll and msghdr are plain data, for which all zeroes is a valid value.
        let (mut from, mut message): (libc::sockaddr_ll, libc::msghdr) =
            unsafe { (zeroed(), zeroed()) };
        message.msg_name = (&raw mut from).cast();
        message.msg_namelen = length(size_of::<libc::sockaddr_ll>())?;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of::<Control>();
        // SAFETY: every pointer in `message` is to a live value of the length beside it.
        let taken = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0) };
        let Ok(len) = usize::try_from(taken) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            };
        };
        // SAFETY: the kernel has just filled `message`, and `control` is still there.
        let stamp = unsafe { stamp(&message) };
        Ok(Some(Heard {
            interface: u32::try_from(from.sll_ifindex).unwrap_or(0),
            at: stamp.map_or_else(clock::boottime, clock::boottime_of),
            len: len.min(buffer.len()),
        }))
    }

    /// How many frames the kernel had to drop since the last call because nobody read.
    pub fn dropped(&self) -> io::Result<u32> {
        // SAFETY: plain data, for which all zeroes is a valid value.
        let mut counted: libc::tpacket_stats = unsafe { zeroed() };
        let mut size = length(size_of::<libc::tpacket_stats>())?;
        // SAFETY: the pointers are to a live value and to its size.
        let answer = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut counted).cast(),
                &raw mut size,
            )
        };
        done(answer).map(|()| counted.tp_drops)
    }

    fn attach(&self, filter: &[Instruction]) -> io::Result<()> {
        let mut steps: Vec<libc::sock_filter> = filter
            .iter()
            .map(|step| libc::sock_filter {
                code: step.code,
                jt: step.if_true,
                jf: step.if_false,
                k: step.value,
            })
            .collect();
        let program = libc::sock_fprog {
            len: u16::try_from(steps.len()).map_err(io::Error::other)?,
            filter: steps.as_mut_ptr(),
        };
        // The kernel copies the steps during the call.
        self.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }

    fn bind(&self) -> io::Result<()> {
        // SAFETY: plain data, for which all zeroes is a valid value.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
        let all = u16::try_from(libc::ETH_P_ALL).map_err(io::Error::other)?;
        address.sll_protocol = all.to_be();
        let size = length(size_of::<libc::sockaddr_ll>())?;
        // SAFETY: the pointer is to a live sockaddr_ll and the length is its size; the kernel only
        // reads it during the call.
        done(unsafe { libc::bind(self.socket.as_raw_fd(), (&raw const address).cast(), size) })
    }

    fn set<T>(&self, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
        let size = length(size_of_val(value))?;
        // SAFETY: the pointer is to a live value and the length is its size; the kernel only reads
        // it, and what a `sock_fprog` in it points to, during the call.
        done(unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                level,
                name,
                ptr::from_ref(value).cast(),
                size,
            )
        })
    }
}

/// The time since 1970 at which the kernel took the frame in.
///
/// # Safety
/// The kernel has filled `message`, and the control buffer that it points to is still there.
unsafe fn stamp(message: &libc::msghdr) -> Option<Duration> {
    // SAFETY: the caller's promise; the macros stay within `msg_controllen`, and the value is read
    // unaligned.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET
                && (*header).cmsg_type == libc::SCM_TIMESTAMPNS
            {
                let time = ptr::read_unaligned(libc::CMSG_DATA(header).cast::<libc::timespec>());
                return Some(Duration::new(
                    u64::try_from(time.tv_sec).ok()?,
                    u32::try_from(time.tv_nsec).ok()?,
                ));
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
        None
    }
}

fn done(answer: libc::c_int) -> io::Result<()> {
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn length(size: usize) -> io::Result<libc::socklen_t> {
    libc::socklen_t::try_from(size).map_err(io::Error::other)
}
