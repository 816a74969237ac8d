//! A socket to one of the kernel's netlink families. The kernel carries a request out within the
//! send, so its answer waits when the send returns: nothing here waits for an answer.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::gate::message::{Message, received};

/// The kernel's dumps come in pieces of at most 32 KiB.
const ANSWER_BYTES: usize = 32 * 1024;
/// `NLMSG_ERROR`, which also says that all went well.
const ERROR: u16 = 2;
/// `NLMSG_DONE`.
const DONE: u16 = 3;

/// The socket with room for its answers.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Channel {
    /// Interfaces and what is attached to them.
    pub(crate) fn route() -> io::Result<Self> {
        // NETLINK_ROUTE is zero, which rustix writes as none.
        Self::open(None)
    }

    /// nftables.
    pub(crate) fn netfilter() -> io::Result<Self> {
        Self::open(Some(rustix::net::netlink::NETFILTER))
    }

    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            protocol,
        )?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self {
            socket,
            buffer: vec![0; ANSWER_BYTES],
        })
    }

    /// Sends a request, of one message or several, and takes all answers that wait. Does not
    /// allocate. The error is the first that the kernel names.
    pub(crate) fn carry_out(&mut self, request: &Message) -> io::Result<()> {
        self.send(request)?;
        let mut answered = false;
        let mut result = Ok(());
        loop {
            let length =
                match rustix::net::recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                    Ok((length, _)) => length,
                    Err(rustix::io::Errno::AGAIN) if answered => return result,
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(errno) => return Err(errno.into()),
                };
            for message in received(&self.buffer[..length]) {
                if message.kind == ERROR {
                    answered = true;
                    if result.is_ok() {
                        result = verdict(message.payload);
                    }
                }
            }
        }
    }

    /// Sends a question and gives each answer of this kind to `take`.
    pub(crate) fn dump(
        &mut self,
        question: &Message,
        kind: u16,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.send(question)?;
        loop {
            let (length, _) =
                rustix::net::recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT)?;
            for message in received(&self.buffer[..length]) {
                match message.kind {
                    DONE => return Ok(()),
                    ERROR => return verdict(message.payload),
                    answer if answer == kind => take(message.payload),
                    _ => {}
                }
            }
        }
    }

    fn send(&self, message: &Message) -> io::Result<()> {
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(&self.socket, message.bytes(), SendFlags::DONTWAIT, &kernel)?;
        Ok(())
    }
}

/// The negative errno of an answer; zero is an acknowledgement.
fn verdict(payload: &[u8]) -> io::Result<()> {
    match payload
        .first_chunk()
        .map(|bytes| i32::from_ne_bytes(*bytes))
    {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno.saturating_neg())),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
