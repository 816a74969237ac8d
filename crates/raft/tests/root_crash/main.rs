//! What a member does when its process, its power or its disk gives out. Needs root.

mod full_disk;
mod loop_disk;
#[path = "../common/node.rs"]
mod node;
#[path = "../common/numbers.rs"]
mod numbers;
mod power_cut;
