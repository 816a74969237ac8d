//! What the kernel hands to the capture: ARP, IPv6, and IPv4 from a VIP. Everything that etcd and the
//! apiservers tell each other stays where it is. Pure: makes a program, loads none.

use std::net::IpAddr;

use khactl_sys::capture::Instruction;

// Codes of classic BPF (linux/bpf_common.h): load half-word or word at an offset, compare, return.
const LOAD_HALF: u16 = 0x28;
const LOAD_WORD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

const ETHER_TYPE: u32 = 12;
const IPV4_SOURCE: u32 = 26;

const ARP: u32 = 0x0806;
const IPV4: u32 = 0x0800;
const IPV6: u32 = 0x86dd;

/// As many bytes of the frame as there are.
const WHOLE: u32 = 0x0004_0000;

/// The program for these VIPs.
pub(super) fn program(vips: &[IpAddr]) -> Vec<Instruction> {
    let sources: Vec<u32> = vips
        .iter()
        .filter_map(|vip| match vip {
            IpAddr::V4(vip) => Some(vip.to_bits()),
            IpAddr::V6(_) => None,
        })
        .collect();
    let mut steps = vec![
        step(LOAD_HALF, ETHER_TYPE),
        // Over the refusal, or on to the next comparison.
        jump(ARP, 3, 0),
        jump(IPV6, 2, 0),
        jump(IPV4, 2, 0),
        step(RETURN, 0),
        step(RETURN, WHOLE),
        step(LOAD_WORD, IPV4_SOURCE),
    ];
    for source in sources {
        steps.push(jump(source, 0, 1));
        steps.push(step(RETURN, WHOLE));
    }
    steps.push(step(RETURN, 0));
    steps
}

fn step(code: u16, value: u32) -> Instruction {
    Instruction {
        code,
        if_true: 0,
        if_false: 0,
        value,
    }
}

fn jump(value: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction {
        code: JUMP_EQUAL,
        if_true,
        if_false,
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the few instructions that the program is made of, as the kernel would.
    fn passes(program: &[Instruction], frame: &[u8]) -> bool {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let step = program[at];
            let offset = step.value as usize;
            at += 1;
            match step.code {
                LOAD_HALF => {
                    loaded = u32::from(u16::from_be_bytes(
                        frame[offset..offset + 2].try_into().unwrap(),
                    ));
                }
                LOAD_WORD => {
                    loaded = u32::from_be_bytes(frame[offset..offset + 4].try_into().unwrap());
                }
                JUMP_EQUAL if loaded == step.value => at += usize::from(step.if_true),
                JUMP_EQUAL => at += usize::from(step.if_false),
                RETURN => return step.value != 0,
                code => panic!("no such instruction: {code:#x}"),
            }
        }
    }

    fn frame(kind: u16, source: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0; 64];
        frame[12..14].copy_from_slice(&kind.to_be_bytes());
        frame[26..30].copy_from_slice(&source);
        frame
    }

    #[test]
    fn arp_and_ipv6_pass_and_of_ipv4_only_what_a_vip_sends() {
        let vips = ["10.77.0.100", "fd77::100", "10.77.0.101"].map(|vip| vip.parse().unwrap());
        let program = program(&vips);
        assert!(passes(&program, &frame(0x0806, [0; 4])));
        assert!(passes(&program, &frame(0x86dd, [0; 4])));
        assert!(passes(&program, &frame(0x0800, [10, 77, 0, 100])));
        assert!(passes(&program, &frame(0x0800, [10, 77, 0, 101])));
        assert!(!passes(&program, &frame(0x0800, [10, 77, 0, 11])));
        assert!(!passes(&program, &frame(0x88cc, [10, 77, 0, 100])));
    }
}
