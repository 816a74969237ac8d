//! Frames to and from the VIP, for asking the gate about them. Pure bytes; none is ever sent.

use std::net::IpAddr;

/// Somebody's own address is of no interest to the gate.
const ELSEWHERE_4: [u8; 4] = [192, 0, 2, 1];
const ELSEWHERE_6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// A packet that somebody sends to the VIP.
pub(crate) fn asking(vip: IpAddr) -> Vec<u8> {
    match vip {
        IpAddr::V4(vip) => ipv4(ELSEWHERE_4, vip.octets()),
        IpAddr::V6(vip) => ipv6(ELSEWHERE_6, vip.octets()),
    }
}

/// A packet that the VIP sends to somebody.
pub(crate) fn coming_from(vip: IpAddr) -> Vec<u8> {
    match vip {
        IpAddr::V4(vip) => ipv4(vip.octets(), ELSEWHERE_4),
        IpAddr::V6(vip) => ipv6(vip.octets(), ELSEWHERE_6),
    }
}

fn ipv4(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0x00]);
    // Version 4 and five words, 20 bytes in all, protocol 255 (reserved).
    frame.extend([0x45, 0, 0, 20, 0, 0, 0, 0, 64, 255, 0, 0]);
    frame.extend(source);
    frame.extend(destination);
    frame
}

fn ipv6(source: [u8; 16], destination: [u8; 16]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([0x86, 0xdd]);
    // Version 6, no payload, no next header (59).
    frame.extend([0x60, 0, 0, 0, 0, 0, 59, 64]);
    frame.extend(source);
    frame.extend(destination);
    frame
}
