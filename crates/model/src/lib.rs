//! The nouns of khactl: the declared cluster, its replicated state, what hosts report, and
//! the timing they share. No async, no IO, no clock: time is an argument.

pub mod command;
pub mod component;
pub mod facts;
pub mod leader_lease;
pub mod preflight;
pub mod spec;
pub mod state;
pub mod status;

/// Where agents listen (TCP) and leases are kept (UDP).
pub const AGENT_PORT: u16 = 9443;
