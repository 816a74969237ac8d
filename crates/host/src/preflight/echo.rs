//! How long packets take to a host and back, and whether those as large as the interface takes them come through: ICMP
//! echoes that nobody on the way may cut. It blocks for a second or two at the most, and needs CAP_NET_RAW.

use khactl_model::preflight::FullSize;
use khactl_sys::{clock, entropy};
use rustix::io::Errno;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, Timeout, ip_mtu, ipv6_mtu, set_ip_mtu_discover,
    set_ipv6_mtu_discover, set_socket_timeout,
};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, ipproto, recv, send,
    socket_with,
};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A host of the same site answers within a millisecond, one of another continent within 300.
const ANSWER: Duration = Duration::from_millis(400);
/// One packet may be lost for another reason than its size.
const TRIES: u8 = 3;
/// So many round trips show what a path does now and then; on a long one they end earlier.
const ROUND_TRIPS: u8 = 50;
/// The longest that round trips are measured for.
const MEASURED: Duration = Duration::from_secs(1);
/// What ping(8) sends, with its headers.
const SMALL_BYTES: u32 = 84;
/// The largest that an IPv4 header can tell; loopback takes one byte more.
const PACKET_BYTES_MAX: u32 = 65_535;
/// Of an echo: type, code, checksum, identifier, number.
const ICMP_HEADER_BYTES: usize = 8;
/// Enough of an answer to know it by.
const HEAD_BYTES: usize = 128;

/// What a host's echoes tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Echoes {
    /// Of the largest packets.
    pub(super) full_size: FullSize,
    /// The slowest of the small ones, in microseconds; `None`: none came.
    pub(super) round_trip_us: Option<u32>,
}

/// Asks a host with small packets, and then with the largest.
pub(super) fn ask(to: IpAddr) -> Echoes {
    tried(to).unwrap_or_else(|error| Echoes {
        full_size: FullSize::Untried(error.to_string()),
        round_trip_us: None,
    })
}

fn tried(to: IpAddr) -> io::Result<Echoes> {
    let mut echo = Echo::open(to)?;
    let mtu = echo.mtu()?;
    if echo.ask_often(SMALL_BYTES)? != Answer::Came {
        return Ok(Echoes {
            full_size: FullSize::Silent,
            round_trip_us: None,
        });
    }
    let round_trip_us = echo.round_trip_us()?;
    let full_size = match echo.ask_often(mtu)? {
        Answer::Came => FullSize::Passes { mtu },
        Answer::TooLarge => FullSize::Smaller {
            mtu,
            passes: echo.mtu()?,
        },
        Answer::Nothing => FullSize::Lost { mtu },
    };
    Ok(Echoes {
        full_size,
        round_trip_us,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Came,
    /// Somebody on the way said so.
    TooLarge,
    Nothing,
}

/// A socket of echoes to one host.
struct Echo {
    socket: OwnedFd,
    protocol: Protocol,
    identifier: [u8; 2],
    number: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    V4,
    V6,
}

impl Echo {
    fn open(to: IpAddr) -> io::Result<Self> {
        let (family, icmp, protocol) = match to {
            IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, Protocol::V4),
            IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, Protocol::V6),
        };
        let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(icmp))?;
        // Whatever the kernel has learned of the path before is not believed: that is what is tried.
        match protocol {
            Protocol::V4 => set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?,
            Protocol::V6 => set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)?,
        }
        // From then on only this host's packets arrive, and errors about packets to it.
        connect(&socket, &SocketAddr::new(to, 0))?;
        Ok(Self {
            socket,
            protocol,
            identifier: entropy::bytes()?,
            number: 0,
        })
    }

    /// The largest packet that the kernel believes to come through, in bytes.
    fn mtu(&self) -> io::Result<u32> {
        let mtu = match self.protocol {
            Protocol::V4 => ip_mtu(&self.socket)?,
            Protocol::V6 => ipv6_mtu(&self.socket)?,
        };
        Ok(mtu.min(PACKET_BYTES_MAX))
    }

    fn ask_often(&mut self, packet_bytes: u32) -> io::Result<Answer> {
        for _ in 0..TRIES {
            match self.ask(packet_bytes)? {
                Answer::Nothing => {}
                answer => return Ok(answer),
            }
        }
        Ok(Answer::Nothing)
    }

    /// The slowest of those that came back, of a host that has answered: no question for its hardware address is in it.
    fn round_trip_us(&mut self) -> io::Result<Option<u32>> {
        let began = clock::monotonic();
        let mut slowest = None;
        for _ in 0..ROUND_TRIPS {
            let asked = clock::monotonic();
            if asked.saturating_sub(began) >= MEASURED {
                break;
            }
            if self.ask(SMALL_BYTES)? == Answer::Came {
                let took = clock::monotonic().saturating_sub(asked);
                slowest = slowest.max(Some(u32::try_from(took.as_micros()).unwrap_or(u32::MAX)));
            }
        }
        Ok(slowest)
    }

    fn ask(&mut self, packet_bytes: u32) -> io::Result<Answer> {
        self.number = self.number.wrapping_add(1);
        let question = question(self.protocol, self.identifier, self.number, packet_bytes);
        if let Err(error) = send(&self.socket, &question, SendFlags::empty()) {
            return answer_of(error);
        }
        let deadline = clock::monotonic() + ANSWER;
        loop {
            let left = deadline.saturating_sub(clock::monotonic());
            if left.is_zero() {
                return Ok(Answer::Nothing);
            }
            set_socket_timeout(&self.socket, Timeout::Recv, Some(left))?;
            let mut head = [0; HEAD_BYTES];
            match recv(&self.socket, &mut head[..], RecvFlags::empty()) {
                Ok((read, _)) if self.is_answer(&head[..read]) => return Ok(Answer::Came),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return answer_of(error),
            }
        }
    }

    fn is_answer(&self, packet: &[u8]) -> bool {
        let (message, echo_reply) = match self.protocol {
            // The header's length stands in its first byte, in words of four.
            Protocol::V4 => {
                let header = packet
                    .first()
                    .map_or(0, |first| usize::from(first & 0x0f) * 4);
                (packet.get(header..).unwrap_or_default(), 0)
            }
            Protocol::V6 => (packet, 129),
        };
        let number = self.number.to_be_bytes();
        message.first() == Some(&echo_reply)
            && message.get(4..6) == Some(&self.identifier[..])
            && message.get(6..8) == Some(&number[..])
    }
}

/// What the kernel's error says of the path; one that says nothing of it is passed on.
fn answer_of(error: Errno) -> io::Result<Answer> {
    match error {
        Errno::MSGSIZE => Ok(Answer::TooLarge),
        Errno::AGAIN
        | Errno::TIMEDOUT
        | Errno::HOSTUNREACH
        | Errno::NETUNREACH
        | Errno::HOSTDOWN
        | Errno::CONNREFUSED
        | Errno::ACCESS
        // The host's own packet filter.
        | Errno::PERM => Ok(Answer::Nothing),
        other => Err(other.into()),
    }
}

/// An echo request that makes a packet of so many bytes (RFC 792, RFC 4443).
fn question(protocol: Protocol, identifier: [u8; 2], number: u16, packet_bytes: u32) -> Vec<u8> {
    let (ip_header_bytes, echo_request) = match protocol {
        Protocol::V4 => (20, 8),
        Protocol::V6 => (40, 128),
    };
    let bytes = usize::try_from(packet_bytes).unwrap_or(usize::MAX);
    let length = bytes.saturating_sub(ip_header_bytes).max(ICMP_HEADER_BYTES);
    let mut message = vec![0; length];
    message[0] = echo_request;
    message[4..6].copy_from_slice(&identifier);
    message[6..8].copy_from_slice(&number.to_be_bytes());
    // The kernel itself sums up those of IPv6, whose sum has the addresses in it.
    if protocol == Protocol::V4 {
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
    }
    message
}

/// The internet's checksum (RFC 1071).
fn checksum(message: &[u8]) -> u16 {
    let sum: u32 = message
        .chunks(2)
        .map(|pair| {
            let low = pair.get(1).copied().unwrap_or(0);
            u32::from(u16::from_be_bytes([pair[0], low]))
        })
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_fills_its_packet_and_its_sum_is_right() {
        for (protocol, bytes, length) in [
            (Protocol::V4, 1_500, 1_480),
            (Protocol::V4, 1_501, 1_481),
            (Protocol::V6, 1_500, 1_460),
            (Protocol::V4, 0, ICMP_HEADER_BYTES),
        ] {
            let question = question(protocol, [0xab, 0xcd], 7, bytes);
            assert_eq!(question.len(), length);
            assert_eq!(question[4..8], [0xab, 0xcd, 0, 7]);
            if protocol == Protocol::V4 {
                // Over a message that holds its own sum it comes to nothing.
                assert_eq!(checksum(&question), 0);
            }
        }
    }

    #[test]
    fn the_sum_is_that_of_the_rfc() {
        // RFC 1071, 3: the sum of these is ddf2.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&bytes), !0xddf2);
        assert_eq!(checksum(&[0xff]), !0xff00);
    }
}
