//! Every kind of packet before both programs, closed and open, without a wire in between.

use std::net::IpAddr;

use khactl_sys::bpf::{Program, Word, WordMap};
use khactl_vip::gate::program::{DROP, Direction, PASS, program};

const VIP4: [u8; 4] = [10, 99, 0, 100];
const HOST4: [u8; 4] = [10, 99, 0, 11];
/// Differs from the VIP in one byte each.
const NEAR4: [[u8; 4]; 4] = [
    [11, 99, 0, 100],
    [10, 98, 0, 100],
    [10, 99, 1, 100],
    [10, 99, 0, 101],
];
const VIP6: [u8; 16] = [0xfd, 0, 0, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const HOST6: [u8; 16] = [0xfd, 0, 0, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11];
const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const NOBODY4: [u8; 4] = [0; 4];
const NOBODY6: [u8; 16] = [0; 16];

struct Judges {
    word: Word,
    inwards: Program,
    outwards: Program,
}

/// Which of the two directions the VIP's gate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gated {
    inwards: bool,
    outwards: bool,
}

const IN: Gated = Gated {
    inwards: true,
    outwards: false,
};
const OUT: Gated = Gated {
    inwards: false,
    outwards: true,
};
const BOTH: Gated = Gated {
    inwards: true,
    outwards: true,
};
const NEVER: Gated = Gated {
    inwards: false,
    outwards: false,
};

fn judges(vips: &[IpAddr]) -> Judges {
    let map = WordMap::new("khactl_test").expect("map");
    let load = |direction| {
        let loaded = Program::load("khactl_test", &program(direction, vips, map.raw()));
        loaded.unwrap_or_else(|refused| panic!("{}: {}", refused.verdict, refused.cause))
    };
    Judges {
        inwards: load(Direction::In),
        outwards: load(Direction::Out),
        word: map.word().expect("mapped"),
    }
}

fn now_ns() -> u64 {
    u64::try_from(khactl_sys::clock::boottime().as_nanos()).expect("a young machine")
}

impl Judges {
    fn judge(&self, what: &str, frame: &[u8]) -> [i32; 2] {
        [&self.inwards, &self.outwards].map(|program| {
            program
                .judge(frame)
                .unwrap_or_else(|error| panic!("{what}: {error}"))
        })
    }

    fn check(&self, what: &str, frame: &[u8], gated: Gated) {
        let expected = [gated.inwards, gated.outwards].map(|gated| if gated { DROP } else { PASS });
        for closed in [0, 1, now_ns()] {
            self.word.store(closed);
            assert_eq!(
                self.judge(what, frame),
                expected,
                "{what}, closed by {closed}"
            );
        }
        for open in [now_ns() + 60_000_000_000, u64::MAX] {
            self.word.store(open);
            assert_eq!(
                self.judge(what, frame),
                [PASS; 2],
                "{what}, open until {open}"
            );
        }
        self.word.store(0);
    }
}

fn ethernet(tags: &[u16], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 5]);
    }
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

fn arp(operation: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut payload = vec![0, 1, 8, 0, 6, 4, 0, operation];
    payload.extend([2; 6]);
    payload.extend(sender);
    payload.extend([0; 6]);
    payload.extend(target);
    payload
}

/// `words` of options follow the fixed header.
fn ipv4(words: u8, fragment: [u8; 2], source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let mut payload = vec![
        0x45 + words,
        0,
        0,
        40,
        0,
        1,
        fragment[0],
        fragment[1],
        64,
        6,
        0,
        0,
    ];
    payload.extend(source);
    payload.extend(destination);
    payload.extend(vec![1; usize::from(words) * 4 + 20]);
    payload
}

fn ipv6(next: u8, source: [u8; 16], destination: [u8; 16], message: &[u8]) -> Vec<u8> {
    let mut payload = vec![0x60, 0, 0, 0, 0, 40, next, 255];
    payload.extend(source);
    payload.extend(destination);
    payload.extend(message);
    payload
}

fn discovery(kind: u8, target: [u8; 16]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target);
    message.extend([1, 1, 2, 2, 2, 2, 2, 2]);
    message
}

/// Cut-off IP headers are missing: the kernel does not even ask about them.
fn cases() -> Vec<(&'static str, u16, Vec<u8>, Gated)> {
    let (arp_kind, ip, ip6) = (0x0806, 0x0800, 0x86dd);
    let segment = [0; 20];
    let whole = [0x40, 0];
    let mut cases = vec![
        ("who has the VIP", arp_kind, arp(1, HOST4, VIP4), IN),
        ("the VIP asks", arp_kind, arp(1, VIP4, HOST4), OUT),
        ("I have the VIP", arp_kind, arp(2, VIP4, HOST4), OUT),
        ("answer to the VIP", arp_kind, arp(2, HOST4, VIP4), IN),
        ("announcement, request", arp_kind, arp(1, VIP4, VIP4), OUT),
        ("announcement, reply", arp_kind, arp(2, VIP4, VIP4), OUT),
        ("probe for the VIP", arp_kind, arp(1, NOBODY4, VIP4), IN),
        ("answer to a probe", arp_kind, arp(2, VIP4, NOBODY4), OUT),
        ("who has another", arp_kind, arp(1, HOST4, NEAR4[3]), NEVER),
        ("IPv4 to the VIP", ip, ipv4(0, whole, HOST4, VIP4), IN),
        ("IPv4 from the VIP", ip, ipv4(0, whole, VIP4, HOST4), OUT),
        ("with options", ip, ipv4(10, whole, VIP4, VIP4), BOTH),
        ("first fragment", ip, ipv4(0, [0x20, 0], HOST4, VIP4), IN),
        ("last fragment", ip, ipv4(0, [0, 9], VIP4, HOST4), OUT),
        ("IPv4 of others", ip, ipv4(0, whole, HOST4, NEAR4[3]), NEVER),
        ("IPv6 to the VIP", ip6, ipv6(6, HOST6, VIP6, &segment), IN),
        (
            "IPv6 from the VIP",
            ip6,
            ipv6(6, VIP6, HOST6, &segment),
            OUT,
        ),
        (
            "hop-by-hop header",
            ip6,
            ipv6(0, VIP6, HOST6, &segment),
            OUT,
        ),
        ("fragment header", ip6, ipv6(44, HOST6, VIP6, &segment), IN),
        ("no payload", ip6, ipv6(59, HOST6, VIP6, &[]), IN),
        (
            "IPv6 of others",
            ip6,
            ipv6(6, HOST6, ALL_NODES, &segment),
            NEVER,
        ),
        ("LLDP", 0x88cc, vec![0; 46], NEVER),
        ("one byte after the type", arp_kind, vec![0], NEVER),
        (
            "half an ARP",
            arp_kind,
            arp(1, HOST4, VIP4)[..20].to_vec(),
            NEVER,
        ),
    ];
    for near in NEAR4 {
        cases.push(("nearly the VIP", ip, ipv4(0, whole, near, near), NEVER));
        cases.push(("nearly the VIP", arp_kind, arp(1, near, near), NEVER));
    }
    for byte in 0..16 {
        let mut near = VIP6;
        near[byte] ^= 0x80;
        let asked = discovery(135, near);
        cases.push(("nearly the VIP", ip6, ipv6(6, near, near, &segment), NEVER));
        cases.push((
            "nearly the VIP",
            ip6,
            ipv6(58, near, ALL_NODES, &asked),
            NEVER,
        ));
    }
    let (ask, tell) = (discovery(135, VIP6), discovery(136, VIP6));
    cases.extend([
        ("NS for the VIP", ip6, ipv6(58, HOST6, ALL_NODES, &ask), IN),
        (
            "DAD for the VIP",
            ip6,
            ipv6(58, NOBODY6, ALL_NODES, &ask),
            IN,
        ),
        (
            "NS from the VIP",
            ip6,
            ipv6(58, VIP6, HOST6, &discovery(135, HOST6)),
            OUT,
        ),
        (
            "NA for the VIP",
            ip6,
            ipv6(58, HOST6, ALL_NODES, &tell),
            OUT,
        ),
        (
            "NA from the VIP",
            ip6,
            ipv6(58, VIP6, ALL_NODES, &tell),
            OUT,
        ),
        (
            "NS for another",
            ip6,
            ipv6(58, HOST6, ALL_NODES, &discovery(135, HOST6)),
            NEVER,
        ),
        (
            "half an NS",
            ip6,
            ipv6(58, HOST6, ALL_NODES, &ask[..20]),
            NEVER,
        ),
    ]);
    cases
}

#[test]
fn the_vips_packets_pass_before_the_deadline_only_and_all_others_always() {
    let judges = judges(&[VIP4.into(), VIP6.into()]);
    for (what, kind, payload, gated) in cases() {
        for tags in [&[] as &[u16], &[0x8100], &[0x88a8], &[0x88a8, 0x8100]] {
            let frame = ethernet(tags, kind, &payload);
            judges.check(&format!("{what} under {} tags", tags.len()), &frame, gated);
        }
    }
}

#[test]
fn a_vip_of_one_family_leaves_the_other_alone() {
    let (four, six) = (judges(&[VIP4.into()]), judges(&[VIP6.into()]));
    let to_four = ethernet(&[], 0x0800, &ipv4(0, [0, 0], HOST4, VIP4));
    let to_six = ethernet(&[], 0x86dd, &ipv6(6, HOST6, VIP6, &[0; 20]));
    four.check("IPv4", &to_four, IN);
    four.check("IPv6", &to_six, NEVER);
    six.check("IPv4", &to_four, NEVER);
    six.check("IPv6", &to_six, IN);
}

#[test]
fn a_deadline_passes_by_itself() {
    let judges = judges(&[VIP4.into()]);
    let frame = ethernet(&[], 0x0800, &ipv4(0, [0, 0], HOST4, VIP4));
    judges.word.store(now_ns() + 50_000_000);
    let deadline = judges.word.load();
    let mut passed = 0;
    loop {
        let before = now_ns();
        let verdict = judges.inwards.judge(&frame).expect("asked");
        let after = now_ns();
        if verdict == DROP {
            assert!(after >= deadline, "dropped before the deadline");
            break;
        }
        passed += 1;
        assert!(before < deadline, "passed after the deadline");
    }
    assert!(passed > 0, "it was open");
}

#[test]
fn a_store_costs_nanoseconds() {
    let judges = judges(&[VIP4.into()]);
    let rounds: u32 = 1_000_000;
    let start = khactl_sys::clock::monotonic();
    for round in 0..rounds {
        judges.word.store(round.into());
    }
    let spent = khactl_sys::clock::monotonic().saturating_sub(start);
    println!("one store: {:?}", spent / rounds);
    assert_eq!(judges.word.load(), u64::from(rounds - 1));
}
