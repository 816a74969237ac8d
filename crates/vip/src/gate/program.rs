//! The two programs of the gate: which packets are the VIP's, and whether they may pass now.
//!
//! What passes only before the deadline is what makes this host the VIP for others:
//!
//! ```text
//!            in                                         out
//!  ARP       asks for the VIP, and not in its name      says that the VIP is its sender
//!  IPv4      to the VIP                                 from the VIP
//!  IPv6      to the VIP                                 from the VIP
//!  NDP       asks for the VIP (solicitation)            answers for the VIP (advertisement)
//! ```
//!
//! All else passes always, also what a host needs to be a client of a VIP that another one has:
//! that one's announcements and packets coming in, and packets to it going out. Fixed headers
//! alone are read, so fragments, options and extension headers do not matter. Tags of VLANs are
//! looked through: whichever network they name, this host must not answer for the VIP there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::gate::assembler::{Assembler, Label, Reg, Width};

/// `TC_ACT_UNSPEC`: this filter has no objection, the next one is asked.
pub const PASS: i32 = -1;
/// `TC_ACT_SHOT`.
pub const DROP: i32 = 2;

/// Helpers of the kernel by their numbers in `linux/bpf.h`.
const LOAD_BYTES: i32 = 26;
/// Since Linux 5.8. The same clock as `CLOCK_BOOTTIME` outside of time namespaces.
const BOOT_TIME_NS: i32 = 125;

/// Where a frame's type stands, before any tag.
const TYPE_AT: i32 = 12;
/// Tags that are looked through: a customer's inside a provider's.
const TAGS_MAX: usize = 2;
const TYPES_OF_TAGS: [u16; 2] = [0x8100, 0x88a8];
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ICMPV6: u32 = 58;
const SOLICITATION: u32 = 135;
const ADVERTISEMENT: u32 = 136;

/// The stack's use: one field of a packet at a time.
const FIELD: i16 = -32;

/// Which way the packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the network to this host.
    In,
    /// From this host to the network.
    Out,
}

/// The program for packets that go this way. `word` is the descriptor of the map that holds the
/// deadline, an absolute boot time in nanoseconds.
pub fn program(direction: Direction, vips: &[IpAddr], word: i32) -> Vec<u64> {
    let mut code = Assembler::default();
    let exits = Exits {
        judge: code.label(),
        pass: code.label(),
    };
    let kinds = Kinds {
        arp: code.label(),
        ipv4: code.label(),
        ipv6: code.label(),
    };
    // R6 the packet, R7 where its type stands.
    code.copy(Reg::R6, Reg::R1);
    code.set(Reg::R7, TYPE_AT);
    tell_kinds(&mut code, &kinds, &exits);
    code.here(kinds.arp);
    arp(&mut code, direction, vips, &exits);
    code.jump(exits.pass);
    code.here(kinds.ipv4);
    ipv4(&mut code, direction, vips, &exits);
    code.jump(exits.pass);
    code.here(kinds.ipv6);
    ipv6(&mut code, direction, vips, &exits);
    code.jump(exits.pass);

    code.here(exits.judge);
    code.call(BOOT_TIME_NS);
    code.map_value(Reg::R1, word);
    code.load(Width::Double, Reg::R2, Reg::R1, 0);
    code.jump_if_below(Reg::R0, Reg::R2, exits.pass);
    code.set(Reg::R0, DROP);
    code.exit();
    code.here(exits.pass);
    code.set(Reg::R0, PASS);
    code.exit();
    code.finish()
}

struct Exits {
    /// It is the VIP's: the deadline decides.
    judge: Label,
    pass: Label,
}

struct Kinds {
    arp: Label,
    ipv4: Label,
    ipv6: Label,
}

fn tell_kinds(code: &mut Assembler, kinds: &Kinds, exits: &Exits) {
    for tags in 0..=TAGS_MAX {
        field(code, 0, 2, exits);
        code.load(Width::Half, Reg::R1, Reg::R10, FIELD);
        code.jump_if_equal(Reg::R1, half(ARP), kinds.arp);
        code.jump_if_equal(Reg::R1, half(IPV4), kinds.ipv4);
        code.jump_if_equal(Reg::R1, half(IPV6), kinds.ipv6);
        if tags < TAGS_MAX {
            let tagged = code.label();
            for kind in TYPES_OF_TAGS {
                code.jump_if_equal(Reg::R1, half(kind), tagged);
            }
            code.jump(exits.pass);
            code.here(tagged);
            code.add(Reg::R7, 4);
        }
    }
    code.jump(exits.pass);
}

/// RFC 826 for IPv4 on Ethernet: the sender's address at 14, the target's at 24.
fn arp(code: &mut Assembler, direction: Direction, vips: &[IpAddr], exits: &Exits) {
    let (sender, target) = (2 + 14, 2 + 24);
    for vip in of_ipv4(vips) {
        let next = code.label();
        match direction {
            Direction::In => {
                field(code, target, 4, exits);
                skip_unless_equal(code, &vip.octets(), next);
                // An announcement by the holder: this host, being a client, has to learn it.
                field(code, sender, 4, exits);
                code.load(Width::Word, Reg::R1, Reg::R10, FIELD);
                code.jump_if_not_equal(Reg::R1, word(vip.octets()), exits.judge);
            }
            Direction::Out => {
                field(code, sender, 4, exits);
                skip_unless_equal(code, &vip.octets(), next);
                code.jump(exits.judge);
            }
        }
        code.here(next);
    }
}

/// RFC 791: the source at 12, the destination at 16.
fn ipv4(code: &mut Assembler, direction: Direction, vips: &[IpAddr], exits: &Exits) {
    let at = match direction {
        Direction::In => 2 + 16,
        Direction::Out => 2 + 12,
    };
    for vip in of_ipv4(vips) {
        let next = code.label();
        field(code, at, 4, exits);
        skip_unless_equal(code, &vip.octets(), next);
        code.jump(exits.judge);
        code.here(next);
    }
}

/// RFC 8200: the next header at 6, the source at 8, the destination at 24, the payload at 40.
/// RFC 4861: the type of the message at 0, the target at 8.
fn ipv6(code: &mut Assembler, direction: Direction, vips: &[IpAddr], exits: &Exits) {
    let (at, message) = match direction {
        Direction::In => (2 + 24, SOLICITATION),
        Direction::Out => (2 + 8, ADVERTISEMENT),
    };
    for vip in of_ipv6(vips) {
        let (other, next) = (code.label(), code.label());
        field(code, at, 16, exits);
        skip_unless_equal(code, &vip.octets(), other);
        code.jump(exits.judge);
        code.here(other);
        field(code, 2 + 6, 1, exits);
        code.load(Width::Byte, Reg::R1, Reg::R10, FIELD);
        code.jump_if_not_equal(Reg::R1, ICMPV6, next);
        field(code, 2 + 40, 1, exits);
        code.load(Width::Byte, Reg::R1, Reg::R10, FIELD);
        code.jump_if_not_equal(Reg::R1, message, next);
        field(code, 2 + 40 + 8, 16, exits);
        skip_unless_equal(code, &vip.octets(), next);
        code.jump(exits.judge);
        code.here(next);
    }
}

/// Copies bytes of the packet to the stack. A packet that ends before them has no such field, and
/// the kernel's own parsers throw it away: it passes.
fn field(code: &mut Assembler, from_type: i32, bytes: i32, exits: &Exits) {
    code.copy(Reg::R1, Reg::R6);
    code.copy(Reg::R2, Reg::R7);
    code.add(Reg::R2, from_type);
    code.copy(Reg::R3, Reg::R10);
    code.add(Reg::R3, FIELD.into());
    code.set(Reg::R4, bytes);
    code.call(LOAD_BYTES);
    code.jump_if_not_zero(Reg::R0, exits.pass);
}

fn skip_unless_equal(code: &mut Assembler, expected: &[u8], to: Label) {
    let (words, _) = expected.as_chunks();
    let mut offset = FIELD;
    for expected in words {
        code.load(Width::Word, Reg::R1, Reg::R10, offset);
        code.jump_if_not_equal(Reg::R1, word(*expected), to);
        offset += 4;
    }
}

/// Bytes of a packet as a load of the machine gives them.
fn word(bytes: [u8; 4]) -> u32 {
    u32::from_ne_bytes(bytes)
}

fn half(network: u16) -> u32 {
    u16::from_ne_bytes(network.to_be_bytes()).into()
}

fn of_ipv4(vips: &[IpAddr]) -> impl Iterator<Item = Ipv4Addr> {
    vips.iter().filter_map(|vip| match vip {
        IpAddr::V4(vip) => Some(*vip),
        IpAddr::V6(_) => None,
    })
}

fn of_ipv6(vips: &[IpAddr]) -> impl Iterator<Item = Ipv6Addr> {
    vips.iter().filter_map(|vip| match vip {
        IpAddr::V4(_) => None,
        IpAddr::V6(vip) => Some(*vip),
    })
}
