//! What the agent serves: `Admin` to people, `Enrol` to hosts that join, `Peer` to the other
//! agents. Raft's own service comes from `khactl_raft`.

pub mod admin;
pub mod enrol;
pub mod peer;
