//! A machine for the tests: it keeps the numbers that it was told.

use std::collections::BTreeSet;

use khactl_raft::Machine;

/// The set of numbers seen.
#[derive(Debug, Default)]
pub(crate) struct Numbers(pub(crate) BTreeSet<u64>);

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
        self.0
            .iter()
            .flat_map(|number| number.to_be_bytes())
            .collect()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        Self::check_snapshot(bytes)?;
        self.0 = bytes.chunks_exact(8).filter_map(number).collect();
        Ok(())
    }

    fn check_snapshot(bytes: &[u8]) -> Result<(), String> {
        if bytes.len().is_multiple_of(8) {
            Ok(())
        } else {
            Err(format!("{} bytes are no numbers", bytes.len()))
        }
    }
}
