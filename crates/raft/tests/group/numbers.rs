//! A machine for the tests: it keeps the numbers that it was told.

use std::collections::BTreeSet;

use khactl_raft::Machine;

/// The set of numbers seen.
#[derive(Debug, Default)]
pub(crate) struct Numbers(pub(crate) BTreeSet<u64>);

/// From here on a number takes [`HEAVY_BYTES`] of a snapshot; a smaller one takes eight bytes.
pub(crate) const HEAVY: u64 = 1 << 32;
/// See [`HEAVY`].
pub(crate) const HEAVY_BYTES: usize = 2048;

/// The command that adds `number`.
pub(crate) fn add(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// The number in a machine's answer.
pub(crate) fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

impl Machine for Numbers {
    /// Answers with how many numbers there are now.
    fn apply(&mut self, _index: u64, command: &[u8]) -> Vec<u8> {
        if let Some(number) = number(&command[..command.len().min(8)]) {
            self.0.insert(number);
        }
        (self.0.len() as u64).to_be_bytes().to_vec()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.iter().flat_map(|number| row(*number)).collect()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.0 = rows(bytes).ok_or_else(|| wrong(bytes))?;
        Ok(())
    }

    fn check_snapshot(bytes: &[u8]) -> Result<(), String> {
        rows(bytes).map(drop).ok_or_else(|| wrong(bytes))
    }
}

/// A number in a snapshot. Every byte of it can be checked, so that a piece of a snapshot at the
/// wrong place does not pass.
fn row(number: u64) -> Vec<u8> {
    let times = if number < HEAVY {
        1
    } else {
        HEAVY_BYTES / size_of::<u64>()
    };
    number.to_be_bytes().repeat(times)
}

fn rows(mut bytes: &[u8]) -> Option<BTreeSet<u64>> {
    let mut numbers = BTreeSet::new();
    while !bytes.is_empty() {
        let next = number(bytes.get(..size_of::<u64>())?)?;
        bytes = bytes.strip_prefix(row(next).as_slice())?;
        numbers.insert(next);
    }
    Some(numbers)
}

fn wrong(bytes: &[u8]) -> String {
    format!("{} bytes are no numbers", bytes.len())
}
