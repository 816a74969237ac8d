//! The frames that ask one machine for a VIP, whoever else has it. Pure bytes; sends nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::sighting::Mac;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) mac: Mac,
    pub(super) address: Ipv4Addr,
    /// Link-local: a host can answer it whatever networks it knows.
    pub(super) address6: Ipv6Addr,
}

/// The frames that ask the machine with this MAC for this VIP: for its MAC, and for an echo.
pub(super) fn questions(asker: &Asker, machine: Mac, vip: IpAddr) -> [Vec<u8>; 2] {
    match vip {
        IpAddr::V4(vip) => [arp(asker, machine, vip), echo(asker, machine, vip)],
        IpAddr::V6(vip) => [
            solicitation(asker, machine, vip),
            echo6(asker, machine, vip),
        ],
    }
}

/// A unicast request (RFC 1122 §2.3.2.1), which its receiver alone may answer.
fn arp(asker: &Asker, machine: Mac, vip: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(asker, machine, [0x08, 0x06]);
    // Ethernet, IPv4, lengths 6 and 4, request.
    frame.extend([0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(asker.mac.0);
    frame.extend(asker.address.octets());
    frame.extend([0; 6]);
    frame.extend(vip.octets());
    frame
}

fn echo(asker: &Asker, machine: Mac, vip: Ipv4Addr) -> Vec<u8> {
    // Echo request, identifier "kh", sequence 0.
    let mut message = [8, 0, 0, 0, b'k', b'h', 0, 0];
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum);

    // Version 4, five words, 28 bytes in all, whole, time to live 1: never beyond this network.
    let mut header = [0x45, 0, 0, 28, 0, 0, 0x40, 0, 1, ICMP, 0, 0]
        .into_iter()
        .chain(asker.address.octets())
        .chain(vip.octets())
        .collect::<Vec<u8>>();
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum);

    let mut frame = ethernet(asker, machine, [0x08, 0x00]);
    frame.extend(header);
    frame.extend(message);
    frame
}

/// As for confirming a neighbour that is known (RFC 4861 §7.3.1): to the address itself.
fn solicitation(asker: &Asker, machine: Mac, vip: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend(vip.octets());
    // The asker's link-layer address: no question comes back for it.
    message.extend([1, 1]);
    message.extend(asker.mac.0);
    // A hop limit below 255 is not believed.
    icmpv6(asker, machine, vip, message, 255)
}

fn echo6(asker: &Asker, machine: Mac, vip: Ipv6Addr) -> Vec<u8> {
    icmpv6(asker, machine, vip, vec![128, 0, 0, 0, b'k', b'h', 0, 0], 1)
}

fn icmpv6(
    asker: &Asker,
    machine: Mac,
    vip: Ipv6Addr,
    mut message: Vec<u8>,
    hop_limit: u8,
) -> Vec<u8> {
    // Messages of a few dozen bytes.
    let len = u16::try_from(message.len()).unwrap_or(0).to_be_bytes();
    let mut pseudo = Vec::new();
    pseudo.extend(asker.address6.octets());
    pseudo.extend(vip.octets());
    pseudo.extend([0, 0, len[0], len[1], 0, 0, 0, ICMPV6]);
    pseudo.extend(&message);
    let sum = checksum(&pseudo);
    message[2..4].copy_from_slice(&sum);

    let mut frame = ethernet(asker, machine, [0x86, 0xdd]);
    frame.extend([0x60, 0, 0, 0, len[0], len[1], ICMPV6, hop_limit]);
    frame.extend(asker.address6.octets());
    frame.extend(vip.octets());
    frame.extend(message);
    frame
}

fn ethernet(asker: &Asker, machine: Mac, kind: [u8; 2]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(86);
    frame.extend(machine.0);
    frame.extend(asker.mac.0);
    frame.extend(kind);
    frame
}

/// RFC 1071, over an even number of bytes.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let mut sum: u32 = bytes
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // Folded into sixteen bits above.
    (!u16::try_from(sum).unwrap_or(0)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Mac = Mac([2, 0x6b, 0x68, 0, 0, 0x0b]);

    fn asker() -> Asker {
        Asker {
            mac: Mac([2, 0x6b, 0x68, 0, 0, 0xc9]),
            address: Ipv4Addr::new(10, 77, 0, 201),
            address6: "fe80::6b:68ff:fe00:c9".parse().unwrap(),
        }
    }

    #[test]
    fn questions_go_to_one_machine_only_and_are_no_answers_themselves() {
        for vip in ["10.77.0.100", "fd77::100"].map(|vip| vip.parse().unwrap()) {
            for frame in questions(&asker(), MACHINE, vip) {
                assert_eq!(frame[..6], MACHINE.0);
                assert_eq!(frame[6..12], asker().mac.0);
                let seen = crate::oracle::Sighting::read(&frame, std::time::Duration::ZERO, &[vip]);
                assert_eq!(seen, None);
            }
        }
    }

    #[test]
    fn checksums_close_to_zero() {
        let [_, echo] = questions(&asker(), MACHINE, "10.77.0.100".parse().unwrap());
        assert_eq!(checksum(&echo[14..34]), [0, 0], "the header");
        assert_eq!(checksum(&echo[34..]), [0, 0], "the message");
        for frame in questions(&asker(), MACHINE, "fd77::100".parse().unwrap()) {
            let mut pseudo = frame[22..54].to_vec();
            pseudo.extend([0, 0, frame[18], frame[19], 0, 0, 0, ICMPV6]);
            pseudo.extend(&frame[54..]);
            assert_eq!(checksum(&pseudo), [0, 0]);
        }
    }
}
