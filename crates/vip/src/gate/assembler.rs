//! Writes BPF instructions with names for places, so that a program reads from top to bottom. Pure;
//! it knows the handful of instructions that the gate needs, and nothing of packets.

use std::collections::BTreeMap;

/// A register. `R1` to `R5` are lost by a call, `R6` to `R9` are kept, `R10` is the stack's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Reg {
    R0 = 0,
    R1 = 1,
    R2 = 2,
    R3 = 3,
    R4 = 4,
    R6 = 6,
    R7 = 7,
    R10 = 10,
}

/// How many bytes a load takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Width {
    Word = 0x00,
    Half = 0x08,
    Byte = 0x10,
    Double = 0x18,
}

/// A place in the program, jumped to before or after it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Label(usize);

/// A program in the making.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    code: Vec<Instruction>,
    labels: usize,
    places: BTreeMap<Label, usize>,
    jumps: Vec<(usize, Label)>,
}

/// `struct bpf_insn`.
#[derive(Debug, Clone, Copy)]
struct Instruction {
    code: u8,
    target: u8,
    source: u8,
    offset: i16,
    immediate: i32,
}

// Classes and modes of `linux/bpf.h` and `linux/bpf_common.h`.
const LOAD_IMMEDIATE_DOUBLE: u8 = 0x18;
const LOAD_MEMORY: u8 = 0x61;
const MOVE_IMMEDIATE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const ADD_IMMEDIATE: u8 = 0x07;
const JUMP: u8 = 0x05;
/// On the lower 32 bits, so that an immediate is not extended by its sign.
const JUMP_EQUAL_32: u8 = 0x16;
const JUMP_NOT_EQUAL_32: u8 = 0x56;
const JUMP_NOT_EQUAL: u8 = 0x55;
const JUMP_BELOW_REGISTER: u8 = 0xad;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// The source of a 64-bit immediate that stands for the memory of a map's values.
const MAP_VALUE: u8 = 2;

impl Assembler {
    pub(crate) fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels)
    }

    /// The label is here.
    pub(crate) fn here(&mut self, label: Label) {
        let known = self.places.insert(label, self.code.len());
        debug_assert!(known.is_none(), "a label has one place");
    }

    pub(crate) fn set(&mut self, target: Reg, value: i32) {
        self.push(MOVE_IMMEDIATE, target as u8, 0, 0, value);
    }

    pub(crate) fn copy(&mut self, target: Reg, source: Reg) {
        self.push(MOVE_REGISTER, target as u8, source as u8, 0, 0);
    }

    pub(crate) fn add(&mut self, target: Reg, value: i32) {
        self.push(ADD_IMMEDIATE, target as u8, 0, 0, value);
    }

    /// `target = *(source + offset)`.
    pub(crate) fn load(&mut self, width: Width, target: Reg, source: Reg, offset: i16) {
        self.push(
            LOAD_MEMORY | width as u8,
            target as u8,
            source as u8,
            offset,
            0,
        );
    }

    /// The address of the first value of the map behind this descriptor; takes two instructions.
    pub(crate) fn map_value(&mut self, target: Reg, map: i32) {
        self.push(LOAD_IMMEDIATE_DOUBLE, target as u8, MAP_VALUE, 0, map);
        self.push(0, 0, 0, 0, 0);
    }

    pub(crate) fn jump(&mut self, to: Label) {
        self.push_jump(JUMP, 0, 0, 0, to);
    }

    /// If the lower 32 bits are equal.
    pub(crate) fn jump_if_equal(&mut self, left: Reg, right: u32, to: Label) {
        self.push_jump(JUMP_EQUAL_32, left as u8, 0, right.cast_signed(), to);
    }

    /// If the lower 32 bits differ.
    pub(crate) fn jump_if_not_equal(&mut self, left: Reg, right: u32, to: Label) {
        self.push_jump(JUMP_NOT_EQUAL_32, left as u8, 0, right.cast_signed(), to);
    }

    /// If any of the 64 bits is set.
    pub(crate) fn jump_if_not_zero(&mut self, register: Reg, to: Label) {
        self.push_jump(JUMP_NOT_EQUAL, register as u8, 0, 0, to);
    }

    /// Without signs, on 64 bits.
    pub(crate) fn jump_if_below(&mut self, left: Reg, right: Reg, to: Label) {
        self.push_jump(JUMP_BELOW_REGISTER, left as u8, right as u8, 0, to);
    }

    /// One of the kernel's helpers, by its number in `linux/bpf.h`.
    pub(crate) fn call(&mut self, helper: i32) {
        self.push(CALL, 0, 0, 0, helper);
    }

    /// Ends with what is in `R0`.
    pub(crate) fn exit(&mut self) {
        self.push(EXIT, 0, 0, 0, 0);
    }

    fn push(&mut self, code: u8, target: u8, source: u8, offset: i16, immediate: i32) {
        self.code.push(Instruction {
            code,
            target,
            source,
            offset,
            immediate,
        });
    }

    fn push_jump(&mut self, code: u8, target: u8, source: u8, immediate: i32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.push(code, target, source, 0, immediate);
    }

    /// The finished program in the machine's own words. Panics if a label has no place, or one
    /// that is too far: mistakes of the program's author, which its tests meet.
    pub(crate) fn finish(mut self) -> Vec<u64> {
        for (at, label) in self.jumps {
            let place = self.places.get(&label).copied();
            // A jump counts from the instruction after it.
            self.code[at].offset = place
                .and_then(|place| place.checked_signed_diff(at + 1))
                .and_then(|distance| i16::try_from(distance).ok())
                .expect("every label has a place within reach");
        }
        self.code.into_iter().map(Instruction::encode).collect()
    }
}

impl Instruction {
    fn encode(self) -> u64 {
        // The two registers share a byte, the target in its first four bits, which are the lower
        // ones where the lowest byte comes first.
        let registers = if cfg!(target_endian = "little") {
            self.source << 4 | self.target
        } else {
            self.target << 4 | self.source
        };
        let mut bytes = [0; 8];
        bytes[0] = self.code;
        bytes[1] = registers;
        bytes[2..4].copy_from_slice(&self.offset.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.immediate.to_ne_bytes());
        u64::from_ne_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(program: &[u64]) -> Vec<[u8; 8]> {
        program.iter().map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn instructions_are_encoded_as_the_kernel_reads_them() {
        let mut program = Assembler::default();
        program.copy(Reg::R6, Reg::R1);
        program.load(Width::Half, Reg::R1, Reg::R10, -32);
        program.map_value(Reg::R1, 7);
        program.set(Reg::R0, -1);
        program.exit();
        assert_eq!(
            bytes(&program.finish()),
            [
                [0xbf, 0x16, 0, 0, 0, 0, 0, 0],
                [0x69, 0xa1, 0xe0, 0xff, 0, 0, 0, 0],
                [0x18, 0x21, 0, 0, 7, 0, 0, 0],
                [0; 8],
                [0xb7, 0x00, 0, 0, 0xff, 0xff, 0xff, 0xff],
                [0x95, 0, 0, 0, 0, 0, 0, 0],
            ]
        );
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn jumps_count_from_the_instruction_after_them_forwards_and_backwards() {
        let mut program = Assembler::default();
        let (start, end) = (program.label(), program.label());
        program.here(start);
        program.jump_if_equal(Reg::R1, 5, end);
        program.jump(start);
        program.here(end);
        program.exit();
        let bytes = bytes(&program.finish());
        assert_eq!(bytes[0][..4], [0x16, 0x01, 1, 0]);
        assert_eq!(bytes[1][..4], [0x05, 0, 0xfe, 0xff], "two back");
    }

    #[test]
    #[should_panic(expected = "every label has a place")]
    fn a_label_without_a_place_is_not_passed_over() {
        let mut program = Assembler::default();
        let nowhere = program.label();
        program.jump(nowhere);
        let _program = program.finish();
    }
}
