//! What a member does when its process, its power or its disk gives out. Needs root.

mod full_disk;
mod loop_disk;
#[path = "../group/node.rs"]
mod node;
#[path = "../group/numbers.rs"]
mod numbers;
mod power_cut;
