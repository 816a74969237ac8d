//! khavip, the data side: the lease thread, the VIP's address with its announcements, and the
//! balancer. khad feeds it over a Unix socket; while khad is down it goes on with what it was last
//! told. It knows nothing of Raft and writes nothing to a disk. It starts no process but `nft`, for
//! the gate where BPF is not to be had.

pub mod address;
pub mod control;
pub mod error;
pub mod feed;
pub mod fence;
pub mod gate;
pub mod hand_over;
mod instance;
pub mod lease;
mod reason;
pub mod release;
pub mod run;
pub mod service;
