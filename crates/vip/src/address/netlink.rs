//! Talks to the kernel about interfaces and addresses by a raw routing socket. The kernel carries
//! a request out within the send itself, so that the answer waits when the send returns: nothing
//! here waits, and a request prepared beforehand is sent without allocating.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::address::announcement::Mac;

/// Groups of the kernel's news: links, IPv4 and IPv6 addresses (`RTMGRP_*` of rtnetlink.h).
const NEWS: u32 = 0x1 | 0x10 | 0x100;

/// The kernel's dumps come in pieces of at most 32 KiB.
const ANSWER_BYTES: usize = 32 * 1024;

/// Which program set a neighbour entry, as routes have it too (`NDA_PROTOCOL`): "k", which no routing daemon uses.
const MARK: u8 = 107;

/// A routing socket.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// A request about one address, ready to be sent as often as needed.
#[derive(Debug, Clone)]
pub(crate) struct Request(Vec<u8>);

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// None for interfaces without Ethernet addresses, such as loopback's kin.
    pub(crate) mac: Option<Mac>,
    pub(crate) loopback: bool,
    /// Administratively up and with carrier.
    pub(crate) running: bool,
}

/// One address on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_field_names,
    reason = "its address is what it is named after"
)]
pub(crate) struct Address {
    pub(crate) index: u32,
    /// Bits of its network.
    pub(crate) prefix: u8,
    pub(crate) address: IpAddr,
}

/// One neighbour on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Neighbour {
    pub(crate) index: u32,
    pub(crate) address: IpAddr,
    /// None while it is being asked for.
    pub(crate) mac: Option<Mac>,
    pub(crate) permanent: bool,
    /// It bears the mark of this program.
    pub(crate) ours: bool,
}

/// What the kernel told without being asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    Removed(Address),
    Link(Link),
    LinkGone(u32),
}

impl Request {
    /// Puts the address on the interface as /32 or /128 for `valid_s` seconds, or renews that.
    ///
    /// Deprecated from the start (preferred for 0 s), so that it is not chosen as a source
    /// address; without a prefix route, which a host's own address has already; without duplicate
    /// detection, which would cost a second or more on each takeover.
    pub(crate) fn add(index: u32, address: IpAddr, valid_s: u32) -> Self {
        let mut message = address_message(index, address);
        let mut lifetime = CacheInfo::default();
        lifetime.ifa_valid = valid_s;
        message
            .attributes
            .push(AddressAttribute::CacheInfo(lifetime));
        message.attributes.push(AddressAttribute::Flags(
            AddressFlags::Nodad | AddressFlags::Noprefixroute,
        ));
        message.header.flags = AddressHeaderFlags::Nodad;
        Self::of(
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_REPLACE,
        )
    }

    /// Takes it off again.
    pub(crate) fn remove(index: u32, address: IpAddr) -> Self {
        Self::of(
            RouteNetlinkMessage::DelAddress(address_message(index, address)),
            0,
        )
    }

    /// Makes the neighbour known for good, with the mark of this program.
    pub(crate) fn set_neighbour(index: u32, address: IpAddr, mac: Mac) -> Self {
        let mut message = neighbour_message(index, address);
        message.header.state = NeighbourState::Permanent;
        message.attributes.extend([
            NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
            NeighbourAttribute::Protocol(MARK.into()),
        ]);
        Self::of(
            RouteNetlinkMessage::NewNeighbour(message),
            NLM_F_CREATE | NLM_F_REPLACE,
        )
    }

    /// Forgets the neighbour, so that the kernel asks for it again.
    pub(crate) fn remove_neighbour(index: u32, address: IpAddr) -> Self {
        let message = neighbour_message(index, address);
        Self::of(RouteNetlinkMessage::DelNeighbour(message), 0)
    }

    fn of(message: RouteNetlinkMessage, flags: u16) -> Self {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = 1;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        Self(bytes)
    }
}

fn address_message(index: u32, address: IpAddr) -> AddressMessage {
    let mut message = AddressMessage::default();
    (message.header.family, message.header.prefix_len) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    message.header.scope = AddressScope::Universe;
    message.header.index = index;
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
    ];
    message
}

fn neighbour_message(index: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    let destination;
    (message.header.family, destination) = match address {
        IpAddr::V4(address) => (AddressFamily::Inet, NeighbourAddress::Inet(address)),
        IpAddr::V6(address) => (AddressFamily::Inet6, NeighbourAddress::Inet6(address)),
    };
    message.header.ifindex = index;
    message.attributes = vec![NeighbourAttribute::Destination(destination)];
    message
}

impl Netlink {
    /// A socket for requests.
    pub(crate) fn open() -> io::Result<Self> {
        Self::open_with(0)
    }

    /// A socket on which the kernel's news arrive.
    pub(crate) fn open_for_news() -> io::Result<Self> {
        Self::open_with(NEWS)
    }

    fn open_with(groups: u32) -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            rustix::net::AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            // NETLINK_ROUTE is zero, which rustix writes as none.
            None,
        )?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self {
            socket,
            buffer: vec![0; ANSWER_BYTES],
        })
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends a prepared request and takes its answer. Does not allocate unless it fails.
    pub(crate) fn carry_out(&mut self, request: &Request) -> io::Result<()> {
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(&self.socket, &request.0, SendFlags::DONTWAIT, &kernel)?;
        let (received, _) =
            rustix::net::recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT)?;
        // nlmsghdr is 16 bytes and then, in an answer to a request with ACK, the negative errno.
        let code = self
            .buffer
            .get(16..20.min(received))
            .and_then(|bytes| bytes.try_into().ok())
            .map(i32::from_ne_bytes);
        match code {
            Some(0) => Ok(()),
            Some(errno) => Err(io::Error::from_raw_os_error(-errno)),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Every interface.
    pub(crate) fn links(&mut self) -> io::Result<Vec<Link>> {
        let messages = self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        Ok(messages
            .into_iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewLink(link) => Some(link_of(&link)),
                _ => None,
            })
            .collect())
    }

    /// Every address of both families.
    pub(crate) fn addresses(&mut self) -> io::Result<Vec<Address>> {
        let messages = self.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        Ok(messages
            .into_iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewAddress(address) => address_of(&address),
                _ => None,
            })
            .collect())
    }

    /// Every neighbour of both families on every interface.
    pub(crate) fn neighbours(&mut self) -> io::Result<Vec<Neighbour>> {
        let question = NeighbourMessage::default();
        let messages = self.dump(RouteNetlinkMessage::GetNeighbour(question))?;
        Ok(messages
            .into_iter()
            .filter_map(|message| match message {
                RouteNetlinkMessage::NewNeighbour(entry) => neighbour_of(&entry),
                _ => None,
            })
            .collect())
    }

    /// The news that wait; None if some were lost, and everything has to be looked at again.
    pub(crate) fn news(&mut self) -> io::Result<Option<Vec<News>>> {
        let mut news = Vec::new();
        loop {
            let received =
                match rustix::net::recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                    Ok((received, _)) => received,
                    Err(rustix::io::Errno::AGAIN) => return Ok(Some(news)),
                    Err(rustix::io::Errno::NOBUFS) => return Ok(None),
                    Err(error) => return Err(error.into()),
                };
            for message in messages(&self.buffer[..received.min(ANSWER_BYTES)]) {
                let NetlinkPayload::InnerMessage(message) = message.payload else {
                    continue;
                };
                news.extend(match message {
                    RouteNetlinkMessage::DelAddress(gone) => address_of(&gone).map(News::Removed),
                    // A port that leaves a bridge is told as gone too, but by the bridge.
                    RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link)
                        if link.header.interface_family == AddressFamily::Bridge =>
                    {
                        None
                    }
                    RouteNetlinkMessage::NewLink(link) => Some(News::Link(link_of(&link))),
                    RouteNetlinkMessage::DelLink(link) => Some(News::LinkGone(link.header.index)),
                    _ => None,
                });
            }
        }
    }

    fn dump(&mut self, question: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut question = NetlinkMessage::new(header, NetlinkPayload::from(question));
        question.finalize();
        let mut bytes = vec![0; question.buffer_len()];
        question.serialize(&mut bytes);
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(&self.socket, &bytes, SendFlags::DONTWAIT, &kernel)?;
        let mut answers = Vec::new();
        loop {
            let (received, _) =
                rustix::net::recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT)?;
            for message in messages(&self.buffer[..received.min(ANSWER_BYTES)]) {
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                    _ => {}
                }
            }
        }
    }
}

/// The messages of one datagram; one that cannot be read is left out (a newer kernel's).
fn messages(mut bytes: &[u8]) -> Vec<NetlinkMessage<RouteNetlinkMessage>> {
    let mut found = Vec::new();
    while let Some(length) = bytes
        .get(..4)
        .and_then(|length| length.try_into().ok())
        .map(u32::from_ne_bytes)
    {
        let length = length as usize;
        let Some(one) = bytes.get(..length).filter(|_| length >= 16) else {
            break;
        };
        if let Ok(message) = NetlinkMessage::deserialize(one) {
            found.push(message);
        }
        // Messages begin at multiples of four.
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    found
}

fn address_of(message: &AddressMessage) -> Option<Address> {
    let mut found = None;
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point interface `Address` is the peer's, hence `Local` first.
            AddressAttribute::Local(address) => found = Some(*address),
            AddressAttribute::Address(address) => found = found.or(Some(*address)),
            _ => {}
        }
    }
    Some(Address {
        index: message.header.index,
        prefix: message.header.prefix_len,
        address: found?,
    })
}

fn neighbour_of(message: &NeighbourMessage) -> Option<Neighbour> {
    let (mut address, mut mac, mut ours) = (None, None, false);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => {
                address = Some(IpAddr::V4(*found));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(found)) => {
                address = Some(IpAddr::V6(*found));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            NeighbourAttribute::Protocol(protocol) => ours = u8::from(*protocol) == MARK,
            _ => {}
        }
    }
    Some(Neighbour {
        index: message.header.ifindex,
        address: address?,
        mac,
        permanent: message.header.state == NeighbourState::Permanent,
        ours,
    })
}

fn link_of(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        loopback: message.header.flags.contains(LinkFlags::Loopback),
        running: message
            .header
            .flags
            .contains(LinkFlags::Up | LinkFlags::LowerUp),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => link.mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_its_address_are_found() {
        let mut netlink = Netlink::open().expect("socket");
        let links = netlink.links().expect("links");
        let lo = links.iter().find(|link| link.loopback).expect("loopback");
        assert_eq!(lo.name, "lo");
        if lo.running {
            let addresses = netlink.addresses().expect("addresses");
            assert!(addresses.contains(&Address {
                index: lo.index,
                prefix: 8,
                address: IpAddr::from([127, 0, 0, 1])
            }));
        }
    }

    #[test]
    fn what_is_not_netlink_is_read_as_nothing() {
        assert!(messages(&[]).is_empty());
        assert!(messages(&[1, 2, 3]).is_empty());
        assert!(messages(&[0; 64]).is_empty());
        assert!(messages(&[0xff; 64]).is_empty());
    }
}
