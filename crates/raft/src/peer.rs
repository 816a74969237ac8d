//! Members of the group and how they are reached.

use std::fmt;

/// A member of the group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer {
    /// Its id: never given to another host once used, even after removal.
    pub id: u64,
    /// Host and port of its agent, as `10.77.0.11:9443`.
    pub address: String,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.id, self.address)
    }
}

/// Makes channels to peers. The caller owns TLS, and keeps one lazy channel per peer: this
/// crate asks again for every kind of message and multiplexes them over what it gets.
pub trait Dial: Send + Sync + 'static {
    /// A channel to the peer that connects when it is first used. Never blocks.
    fn channel(&self, peer: &Peer) -> tonic::transport::Channel;
}
