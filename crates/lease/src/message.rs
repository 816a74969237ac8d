//! What hosts say to each other. Fixed size on the wire; see `wire`.

use crate::Ballot;

/// Why an acceptor refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NackReason {
    /// An unexpired lock belongs to another host (A3).
    Leased,
    /// A higher ballot was promised, or this one was released (A4, A5), or it asks for more than `T_MAX` (A5).
    Ballot,
    /// The epoch is fenced off (A2).
    Epoch,
}

/// One message. Times are durations in nanoseconds: no host reads another's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// "May I propose?"
    Prepare {
        /// The new ballot.
        ballot: Ballot,
        /// The sender's epoch.
        epoch: u64,
    },
    /// "You may."
    Promise {
        /// Echo of the prepare.
        ballot: Ballot,
        /// The acceptor's fence.
        fence: u64,
    },
    /// "Lock for me for this long."
    Propose {
        /// The prepared ballot.
        ballot: Ballot,
        /// This propose alone.
        seq: u64,
        /// The sender's epoch.
        epoch: u64,
        /// T.
        lease: u64,
    },
    /// "Locked."
    Accepted {
        /// Echo of the propose.
        ballot: Ballot,
        /// Echo of the propose.
        seq: u64,
        /// How well this host itself could serve: 0 not at all, 255 without a handicap. A holder that hands over names
        /// the fittest (P9).
        fitness: u8,
    },
    /// "No."
    Nack {
        /// Echo of the refused prepare or propose.
        ballot: Ballot,
        /// Echo of the propose; 0 for a prepare.
        seq: u64,
        /// Why.
        reason: NackReason,
        /// Whose lock it is, 0 if there is none.
        holder: u64,
        /// How long that lock still lasts.
        left: u64,
        /// The highest ballot promised or released here.
        promised: Ballot,
        /// The acceptor's fence.
        fence: u64,
    },
    /// "What do you know?" Changes nothing.
    Query {
        /// This query alone.
        seq: u64,
    },
    /// Answer to a query.
    State {
        /// Echo of the query.
        seq: u64,
        /// The lock's ballot, [`Ballot::NONE`] if there is none.
        lock: Ballot,
        /// How long the lock still lasts; 0 if it has expired.
        left: u64,
        /// The highest ballot promised or released here.
        promised: Ballot,
    },
    /// "My lock of exactly this ballot is void."
    Release {
        /// The ballot, dead from now on.
        ballot: Ballot,
        /// Who may prepare at once (P9); 0 for nobody in particular.
        successor: u64,
    },
}
