//! What one fault needs of those who are measured by it at once. keepalived's three configurations stand
//! side by side on the same hosts and meet the very same fault; each profile of khactl meets its own.

use crate::contender::Contender;
use crate::fault::Fault;

/// Contenders that meet a fault together.
pub(crate) trait Side {
    /// Which they are.
    fn contenders(&self) -> &[Contender];

    /// Whether all is well: all hosts could take over, and one host alone has the address of every
    /// contender. Gives that host.
    fn settled(&self) -> Option<String>;

    /// Does it to the holder. Returns when it is done.
    fn inflict(&mut self, fault: Fault, holder: &str) -> anyhow::Result<()>;

    /// Makes it good, as far as it does not recover by itself.
    fn undo(&mut self, fault: Fault, holder: &str) -> anyhow::Result<()>;
}
