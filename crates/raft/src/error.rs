//! What can go wrong, in the operator's words.

use std::path::PathBuf;
use std::time::Duration;

use crate::Peer;

/// An action of consensus that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings contradict each other.
    #[error("cannot start consensus: {reason}; correct spec.raft")]
    Config {
        /// Which setting and why.
        reason: String,
    },
    /// The store does not open.
    #[error(
        "cannot open the consensus store {}; check that the disk has room, that no other khad \
         runs, and that the folder belongs to root", path.display()
    )]
    Open {
        /// The store's folder.
        path: PathBuf,
        /// RocksDB's or the system's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store belongs to somebody else.
    #[error(
        "the consensus store {} belongs to {found}, this agent is {expected}; was the folder \
         copied from another host? Move it away, or run `khactl reset`", path.display()
    )]
    Foreign {
        /// The store's folder.
        path: PathBuf,
        /// Cluster and node that the store names.
        found: String,
        /// Cluster and node that were to be started.
        expected: String,
    },
    /// A newer agent wrote what is on disk.
    #[error(
        "the consensus store {} holds {what} of a newer agent: {reason}; upgrade khad on this host",
        path.display()
    )]
    Newer {
        /// The store's folder.
        path: PathBuf,
        /// Which record.
        what: String,
        /// The version found and the one known.
        reason: String,
    },
    /// What is on disk cannot be right.
    #[error(
        "the consensus store {} is damaged: {what}: {reason}; remove this host from the cluster \
         and let it join again", path.display()
    )]
    Damaged {
        /// The store's folder.
        path: PathBuf,
        /// Which record.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// openraft did not start on what the store holds.
    #[error("cannot start consensus on the store {}", path.display())]
    Start {
        /// The store's folder.
        path: PathBuf,
        /// openraft's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Only the leader can do this.
    #[error("this host does not lead the agents; {}", ask(leader.as_ref()))]
    NotLeader {
        /// Who does, if known.
        leader: Option<Peer>,
    },
    /// No majority answered in time.
    #[error(
        "no majority of the agents answered within {} ms; what was proposed may still take \
         effect later; check the other hosts and the network between them", waited.as_millis()
    )]
    NoQuorum {
        /// How long was waited.
        waited: Duration,
    },
    /// Leadership was lost between proposal and answer.
    #[error(
        "the leader changed while a proposal was under way: it may or may not have taken effect; \
         look at the state before proposing again"
    )]
    OutcomeUnknown,
    /// Too little room to write safely.
    #[error(
        "the disk of {} is full: {free} bytes are free, {need} are needed; nothing was changed; \
         free space, then try again", path.display()
    )]
    DiskFull {
        /// The store's folder.
        path: PathBuf,
        /// Free bytes.
        free: u64,
        /// Bytes that must stay free, with those of the proposal.
        need: u64,
    },
    /// The free space could not be read.
    #[error("cannot read the free space of {}", path.display())]
    Headroom {
        /// The store's folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A proposal is longer than the log takes.
    #[error("a proposal of {size} bytes is too long: {limit} at the most")]
    TooLarge {
        /// Its length, bytes.
        size: usize,
        /// The limit, bytes.
        limit: usize,
    },
    /// The machine would not understand the proposal.
    #[error("the proposal was refused: {reason}")]
    Refused {
        /// The machine's reason.
        reason: String,
    },
    /// A change of members is under way.
    #[error("another change of the agents' group is under way; wait for it, then try again")]
    ChangeInProgress,
    /// Members cannot be changed this way.
    #[error("the agents' group was not changed: {reason}")]
    Change {
        /// Why not.
        reason: String,
    },
    /// The id is no member.
    #[error("host {id} is not in the agents' group")]
    UnknownMember {
        /// The id asked for.
        id: u64,
    },
    /// A member has not copied the log yet.
    #[error(
        "host {id} has not caught up within {} ms: it lacks {behind} entries; check that it runs \
         and is reachable", waited.as_millis()
    )]
    Behind {
        /// The member.
        id: u64,
        /// Entries it lacks.
        behind: u64,
        /// How long was waited.
        waited: Duration,
    },
    /// Leadership did not arrive where it was sent.
    #[error(
        "leadership did not pass to host {id} within {} ms; the group elects by itself, look at \
         the status", waited.as_millis()
    )]
    Transfer {
        /// The intended leader.
        id: u64,
        /// How long was waited.
        waited: Duration,
    },
    /// The group was founded before, by or with others.
    #[error(
        "the agents' group exists already, with {members}; join it instead of founding it anew"
    )]
    Founded {
        /// Its members.
        members: String,
    },
    /// Consensus has stopped on this host and starts again only with the agent.
    #[error(
        "consensus has stopped on this host: {reason}; nothing acknowledged is lost; cure the \
         cause and restart khad"
    )]
    Stopped {
        /// The storage error, or that it was shut down.
        reason: String,
    },
    /// The store is still in use after shutdown.
    #[error("the consensus store {} did not close within {} ms", path.display(), waited.as_millis())]
    Close {
        /// The store's folder.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
}

fn ask(leader: Option<&Peer>) -> String {
    match leader {
        Some(peer) => format!("ask the leader, {peer}"),
        None => "no leader is known yet, try again in a moment".to_owned(),
    }
}
