//! The frames about the VIP: gratuitous ARP or an unsolicited neighbour advertisement, by which neighbours learn who has
//! it now, and the question whether anybody has it. Pure bytes on the stack; sends nothing and allocates nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A hardware address.
pub(crate) type Mac = [u8; 6];

/// All nodes on the link, as IPv6 multicast maps it to Ethernet (RFC 2464).
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ICMPV6: u8 = 58;

/// The longest: Ethernet 14, IPv6 40, neighbour advertisement with one option 32 bytes.
const FRAME_BYTES_MAX: usize = 86;

/// One frame, ready to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    bytes: [u8; FRAME_BYTES_MAX],
    length: usize,
}

impl Frame {
    const EMPTY: Self = Self {
        bytes: [0; FRAME_BYTES_MAX],
        length: 0,
    };

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// What a frame of this module never needs is more room.
    fn put(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            place.copy_from_slice(bytes);
            self.length = end;
        }
    }
}

/// The frame that announces `address` at `mac`.
pub(crate) fn announcement(address: IpAddr, mac: Mac) -> Frame {
    match address {
        // An ARP announcement (RFC 5227 §3): a request by and for the address itself, to everybody.
        IpAddr::V4(address) => arp_request(address, address, mac),
        IpAddr::V6(address) => unsolicited_advertisement(address, mac),
    }
}

/// The frame by which `mac` asks whether anybody has `address`. It claims nothing: it changes no neighbour's mind, and
/// goes to no address that anybody has.
pub(crate) fn question(address: IpAddr, mac: Mac) -> Frame {
    match address {
        // An ARP probe (RFC 5227 §2.1.1).
        IpAddr::V4(address) => arp_request(Ipv4Addr::UNSPECIFIED, address, mac),
        IpAddr::V6(address) => anonymous_solicitation(address, mac),
    }
}

fn arp_request(sender: Ipv4Addr, target: Ipv4Addr, mac: Mac) -> Frame {
    let mut frame = Frame::EMPTY;
    frame.put(&[0xff; 6]);
    frame.put(&mac);
    frame.put(&[0x08, 0x06]);
    // Ethernet, IPv4, lengths 6 and 4, request.
    frame.put(&[0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.put(&mac);
    frame.put(&sender.octets());
    frame.put(&[0; 6]);
    frame.put(&target.octets());
    frame
}

/// RFC 4861 §7.2.6: override set, solicited not, with the target's link-layer address.
fn unsolicited_advertisement(address: Ipv6Addr, mac: Mac) -> Frame {
    let mut message = [0; 32];
    (message[0], message[4]) = (136, 0x20);
    message[8..24].copy_from_slice(&address.octets());
    (message[24], message[25]) = (2, 1);
    message[26..].copy_from_slice(&mac);
    icmpv6(ALL_NODES_MAC, mac, address, ALL_NODES, &mut message)
}

/// The solicitation of duplicate address detection (RFC 4862 §5.4.2): from nobody, to the nodes that listen for the
/// address. Whoever has it answers to all nodes.
fn anonymous_solicitation(address: Ipv6Addr, mac: Mac) -> Frame {
    let mut message = [0; 24];
    message[0] = 135;
    message[8..].copy_from_slice(&address.octets());
    let [.., a, b, c] = address.octets();
    let group = Ipv6Addr::new(
        0xff02,
        0,
        0,
        0,
        0,
        1,
        u16::from_be_bytes([0xff, a]),
        u16::from_be_bytes([b, c]),
    );
    let group_mac = [0x33, 0x33, 0xff, a, b, c];
    icmpv6(group_mac, mac, Ipv6Addr::UNSPECIFIED, group, &mut message)
}

/// Fills the message's checksum in and puts it into a frame.
fn icmpv6(to_mac: Mac, from_mac: Mac, from: Ipv6Addr, to: Ipv6Addr, message: &mut [u8]) -> Frame {
    let checksum = icmpv6_checksum(from, to, message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let mut frame = Frame::EMPTY;
    frame.put(&to_mac);
    frame.put(&from_mac);
    frame.put(&[0x86, 0xdd]);
    // Version 6, no class, no label; the payload's length; hop limit 255, or it is not believed.
    let length = u8::try_from(message.len()).unwrap_or(0);
    frame.put(&[0x60, 0, 0, 0, 0, length, ICMPV6, 255]);
    frame.put(&from.octets());
    frame.put(&to.octets());
    frame.put(message);
    frame
}

/// RFC 4443 §2.3 over the pseudo-header of RFC 8200 §8.1; the message's own field must be zero.
fn icmpv6_checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let words = |bytes: &[u8]| -> u32 {
        let pairs = bytes.chunks(2);
        pairs
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
            .sum()
    };
    // The upper half of the length is always zero here.
    let length = u32::try_from(message.len()).unwrap_or(0);
    let mut sum = words(&source.octets())
        + words(&destination.octets())
        + length
        + u32::from(ICMPV6)
        + words(message);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [0x02, 0, 0, 0, 0, 0x11];

    #[test]
    fn a_gratuitous_arp_is_a_broadcast_request_by_and_for_the_address() {
        let frame = announcement("10.77.0.100".parse().expect("address"), MAC);
        let frame = frame.bytes();
        assert_eq!(frame.len(), 42);
        assert_eq!(frame[..6], [0xff; 6]);
        assert_eq!(frame[6..12], MAC);
        assert_eq!(frame[12..22], [8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(frame[22..28], MAC);
        assert_eq!(frame[28..32], [10, 77, 0, 100]);
        assert_eq!(frame[38..42], [10, 77, 0, 100]);
    }

    #[test]
    fn an_advertisement_overrides_and_its_checksum_closes_to_zero() {
        let address: Ipv6Addr = "fd00:77::100".parse().expect("address");
        let frame = announcement(address.into(), MAC);
        let frame = frame.bytes();
        assert_eq!(frame.len(), 86);
        assert_eq!(frame[19], 32, "payload length");
        assert_eq!(frame[54], 136, "neighbour advertisement");
        assert_eq!(frame[58], 0x20, "override alone");
        assert_eq!(frame[62..78], address.octets());
        assert_eq!(frame[80..86], MAC);
        // Summing with the checksum in place gives all ones, hence zero after the complement.
        assert_eq!(icmpv6_checksum(address, ALL_NODES, &frame[54..]), 0);
    }

    #[test]
    fn an_arp_question_has_no_sender_address() {
        let frame = question("10.77.0.100".parse().expect("address"), MAC);
        let frame = frame.bytes();
        assert_eq!(frame.len(), 42);
        assert_eq!(frame[..6], [0xff; 6]);
        assert_eq!(frame[22..28], MAC);
        assert_eq!(frame[28..32], [0; 4]);
        assert_eq!(frame[38..42], [10, 77, 0, 100]);
    }

    #[test]
    fn an_ipv6_question_comes_from_nobody_and_goes_to_the_addresss_group() {
        let address: Ipv6Addr = "fd00:77::12:3456".parse().expect("address");
        let frame = question(address.into(), MAC);
        let frame = frame.bytes();
        assert_eq!(frame.len(), 78);
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        assert_eq!(frame[22..38], [0; 16]);
        let group: Ipv6Addr = "ff02::1:ff12:3456".parse().expect("address");
        assert_eq!(frame[38..54], group.octets());
        assert_eq!((frame[54], &frame[62..78]), (135, &address.octets()[..]));
        assert_eq!(
            icmpv6_checksum(Ipv6Addr::UNSPECIFIED, group, &frame[54..]),
            0
        );
    }
}
