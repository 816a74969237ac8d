//! The VIP's lease: a diskless majority lease among the voters, as a pure state machine.
//!
//! Every voter accepts, and every voter that is fit to serve proposes; a witness only accepts. One [`Lease`] is both
//! roles of one host in one process. It has no clock, no IO, no threads and allocates nothing in a step: time is
//! nanoseconds of `CLOCK_BOOTTIME` passed in, randomness is seeded from outside, effects go into a buffer of the
//! caller, who carries them out in the buffer's order. So the simulation in this crate runs the code that ships.
//!
//! The rules are numbered, here and in the tests, as in the specification: A acceptor, P proposer, K release for a dead
//! process, M membership, G gate. Safety is A3 (an unexpired lock of another host refuses everything) together with
//! overlapping majorities; promises only settle duels.
//!
//! ```text
//!               fit, voter, fed, no other's lock, time come (P1)
//!         ┌──────┐  query first (P2)  ┌───────┐
//!     ┌──►│ Idle ├───────────────────►│ Probe │
//!     │   └──┬───┘                    └───┬───┘
//!     │      │ nothing lost before        │ a majority says free
//!     │      ▼                            ▼
//!     │   ┌─────────┐  majority (P4)  ┌─────────┐  majority (P5)  ┌──────┐
//!     │   │ Prepare ├────────────────►│ Propose ├────────────────►│ Hold ├─┐ renew (P6)
//!     │   └──┬──────┘                 └───┬─────┘                 └─┬──▲─┘ │
//!     └──────┴────────────────────────────┴─────────────────────────┘  └───┘
//!       limit passed      given up: release (P8)      deadline, clock jump (P7), hand-over (P9)
//! ```

mod acceptor;
mod answers;
mod ballot;
mod candidates;
mod checksum;
mod configuration;
mod effects;
mod lease;
mod message;
mod proposer;
mod random;
mod record;
mod replay;
mod round_trip;
mod rules;
mod slots;
mod timing;
mod wire;

#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod simulation;

pub use acceptor::Lock;
pub use ballot::Ballot;
pub use configuration::{Configuration, ConfigurationError, MEMBERS_MAX, Member};
pub use effects::{Effect, Effects};
pub use lease::{Identity, Input, Lease, View};
pub use message::{Message, NackReason};
pub use record::Record;
pub use replay::Replay;
pub use slots::{
    RECORD_LEN, RecordBinding, SLOT_LEN, Stamp, decode_record, encode_slot, has_slept, slot_offset,
};
pub use timing::{Profile, T_MAX, Timing, TimingError};
pub use wire::{AUTHENTICATED_LEN, DATAGRAM_LEN, Datagram, MAC_LEN, WireError, decode, encode};
