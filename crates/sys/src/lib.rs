//! Thin, safe faces of what only the kernel can give: clocks, entropy, process descriptors,
//! real-time scheduling, locked memory, the interface list.
//!
//! This is the only crate of the workspace with `unsafe` code. It takes no decisions, keeps no
//! state and knows nothing of clusters.

pub mod clock;
