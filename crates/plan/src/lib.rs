//! Pure decisions: (spec, cluster state, host facts, now) -> effects, status and the next
//! wake-up. One file per component; never reads a clock, a file or the network, and keeps no
//! state of its own.

pub mod effect;
