//! Classic BPF programs for packet sockets, so that the kernel wakes nobody for frames that mean nothing here: who claims
//! the VIP, and datagrams of the lease. Pure lists of instructions; what passes is read and judged elsewhere.
//!
//! Offsets count from the Ethernet header, which is 14 bytes long.

use std::net::IpAddr;

use khactl_sys::capture::Instruction;

/// Codes of `linux/bpf_common.h`.
const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF_INDEXED: u16 = 0x48;
/// X = four times the lower half of the byte: the length of an IPv4 header.
const INDEX_BY_IPV4_HEADER: u16 = 0xb1;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const UDP: u32 = 17;
const ICMPV6: u32 = 58;
const ADVERTISEMENT: u32 = 136;

/// A step that must hold, or the frame is dropped.
enum Check {
    Load(u16, u32),
    Equals(u32),
    HasNone(u32),
}

/// Who claims `address`: ARP whose sender it is, or neighbour advertisements of it.
pub(crate) fn claims(address: IpAddr) -> Vec<Instruction> {
    let mut checks = Vec::new();
    match address {
        IpAddr::V4(address) => {
            checks.extend([Check::Load(LOAD_WORD, 28), Check::Equals(address.to_bits())]);
        }
        IpAddr::V6(address) => {
            checks.extend([Check::Load(LOAD_BYTE, 20), Check::Equals(ICMPV6)]);
            checks.extend([Check::Load(LOAD_BYTE, 54), Check::Equals(ADVERTISEMENT)]);
            for (offset, word) in (62..).step_by(4).zip(address.octets().chunks_exact(4)) {
                let word = u32::from_be_bytes([word[0], word[1], word[2], word[3]]);
                checks.extend([Check::Load(LOAD_WORD, offset), Check::Equals(word)]);
            }
        }
    }
    program(&checks)
}

/// UDP datagrams to `port` over the family of `bind`.
pub(crate) fn datagrams(bind: IpAddr, port: u16) -> Vec<Instruction> {
    let port = u32::from(port);
    program(&match bind {
        IpAddr::V4(_) => vec![
            Check::Load(LOAD_BYTE, 23),
            Check::Equals(UDP),
            // Of a later fragment the first bytes are no ports.
            Check::Load(LOAD_HALF, 20),
            Check::HasNone(0x1fff),
            Check::Load(INDEX_BY_IPV4_HEADER, 14),
            Check::Load(LOAD_HALF_INDEXED, 16),
            Check::Equals(port),
        ],
        IpAddr::V6(_) => vec![
            Check::Load(LOAD_BYTE, 20),
            Check::Equals(UDP),
            Check::Load(LOAD_HALF, 56),
            Check::Equals(port),
        ],
    })
}

/// All checks in a row, then the whole frame, or nothing of it.
fn program(checks: &[Check]) -> Vec<Instruction> {
    let mut program = Vec::with_capacity(checks.len() + 2);
    for (place, check) in checks.iter().enumerate() {
        // Over the checks that follow and the first return.
        let drop = u8::try_from(checks.len() - place).unwrap_or(u8::MAX);
        program.push(match *check {
            Check::Load(code, offset) => instruction(code, 0, 0, offset),
            Check::Equals(value) => instruction(JUMP_IF_EQUAL, 0, drop, value),
            Check::HasNone(bits) => instruction(JUMP_IF_ANY_BIT, drop, 0, bits),
        });
    }
    program.push(instruction(RETURN, 0, 0, u32::MAX));
    program.push(instruction(RETURN, 0, 0, 0));
    program
}

fn instruction(code: u16, if_true: u8, if_false: u8, value: u32) -> Instruction {
    Instruction {
        code,
        if_true,
        if_false,
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::announcement::{announcement, question};

    /// Runs a program as the kernel would; what reads beyond the frame drops it.
    fn passes(program: &[Instruction], frame: &[u8]) -> bool {
        let at = |offset: usize, size: usize| -> Option<u32> {
            let bytes = frame.get(offset..offset + size)?;
            Some(
                bytes
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | u32::from(*byte)),
            )
        };
        let (mut accumulator, mut index, mut place) = (0, 0_usize, 0);
        loop {
            let step = program[place];
            let operand = step.value as usize;
            let loaded = match step.code {
                LOAD_WORD => at(operand, 4),
                LOAD_HALF => at(operand, 2),
                LOAD_BYTE => at(operand, 1),
                LOAD_HALF_INDEXED => at(index + operand, 2),
                INDEX_BY_IPV4_HEADER => {
                    let Some(byte) = at(operand, 1) else {
                        return false;
                    };
                    index = 4 * (byte & 0xf) as usize;
                    Some(accumulator)
                }
                RETURN => return step.value > 0,
                _ => Some(accumulator),
            };
            let Some(loaded) = loaded else { return false };
            accumulator = loaded;
            let skip = match step.code {
                JUMP_IF_EQUAL if accumulator == step.value => step.if_true,
                JUMP_IF_ANY_BIT if accumulator & step.value != 0 => step.if_true,
                JUMP_IF_EQUAL | JUMP_IF_ANY_BIT => step.if_false,
                _ => 0,
            };
            place += 1 + usize::from(skip);
        }
    }

    #[test]
    fn announcements_of_the_address_pass_and_questions_and_other_addresses_do_not() {
        let mac = [2, 0, 0, 0, 0, 9];
        for (vip, other) in [("10.77.0.100", "10.77.0.101"), ("fd00::100", "fd00::101")] {
            let (vip, other) = (vip.parse().expect("ip"), other.parse().expect("ip"));
            let program = claims(vip);
            assert!(passes(&program, announcement(vip, mac).bytes()));
            assert!(!passes(&program, announcement(other, mac).bytes()));
            assert!(!passes(&program, question(vip, mac).bytes()));
            assert!(!passes(&program, &announcement(vip, mac).bytes()[..20]));
        }
    }

    #[test]
    fn datagrams_of_the_port_pass_whatever_the_length_of_the_header() {
        let four = datagrams("10.0.0.1".parse().expect("ip"), 9443);
        for options in [0_u8, 4, 40] {
            let mut frame = vec![0; 14];
            frame.push(0x40 | (5 + options / 4));
            frame.extend([0; 8]);
            frame.push(17);
            frame.extend(vec![0; 10 + usize::from(options)]);
            frame.extend([0, 0]);
            frame.extend(9443_u16.to_be_bytes());
            assert!(passes(&four, &frame), "{options}");
            frame[21] = 1;
            assert!(!passes(&four, &frame), "a later fragment");
            frame[21] = 0;
            frame[23] = 6;
            assert!(!passes(&four, &frame), "TCP");
        }
        let six = datagrams("fd00::1".parse().expect("ip"), 9443);
        let mut frame = vec![0; 54];
        frame[20] = 17;
        frame.extend([0, 0]);
        frame.extend(9443_u16.to_be_bytes());
        assert!(passes(&six, &frame));
        frame[57] ^= 1;
        assert!(!passes(&six, &frame));
    }
}
