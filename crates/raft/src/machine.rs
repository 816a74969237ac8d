//! The replicated state, as this crate sees it: opaque, pure, in memory.

/// A deterministic state machine fed with committed commands.
///
/// It is pure: the same commands in the same order give the same state on every host. It
/// reads no clock, does no IO and never panics; a command that makes no sense is answered,
/// not failed.
pub trait Machine: Send + Sync + 'static {
    /// Applies the command at log position `index` and returns the answer for its proposer.
    fn apply(&mut self, index: u64, command: &[u8]) -> Vec<u8>;

    /// The whole state, for [`Machine::restore`] on this or another host.
    fn snapshot(&self) -> Vec<u8>;

    /// Replaces the whole state. On an error, which says what is wrong with the bytes, the
    /// state is as before.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), String>;

    /// Whether this build can apply the command. Asked before a command is proposed, accepted
    /// from a leader, or read from disk at start, so that an older agent refuses a newer
    /// command instead of applying it wrongly. The error names the version it found.
    fn check_command(command: &[u8]) -> Result<(), String> {
        let _ = command;
        Ok(())
    }

    /// Whether this build could restore these bytes. Asked before a snapshot that a leader
    /// sends is accepted.
    fn check_snapshot(bytes: &[u8]) -> Result<(), String> {
        let _ = bytes;
        Ok(())
    }
}
