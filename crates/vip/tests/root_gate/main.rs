//! The gate in the real kernel: what its programs say of every kind of packet, what passes on a
//! wire, what outlives a process. Needs root.

mod judging;
#[path = "../root_vip/network.rs"]
#[expect(
    dead_code,
    reason = "each of the two test programs uses its own part of it"
)]
mod network;
mod process;
mod segment;
mod weaker;
mod wire;
