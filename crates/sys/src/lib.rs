//! Thin, safe faces of what only the kernel can give: clocks, entropy, process descriptors,
//! real-time scheduling, locked memory, BPF, the interface list, what happens between fork and exec.
//!
//! This is the only crate of the workspace with `unsafe` code. It takes no decisions, keeps no
//! state and knows nothing of clusters.

pub mod allocations;
pub mod boot;
pub mod bpf;
pub mod capture;
pub mod clock;
pub mod clock_discipline;
pub mod confine;
pub mod detach;
pub mod entropy;
pub mod interfaces;
pub mod own_network;
pub mod packet;
pub mod pidfd;
pub mod process_stat;
pub mod readable;
pub mod realtime;
mod realtime_group;
