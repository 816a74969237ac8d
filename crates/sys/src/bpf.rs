//! BPF programs for packets, and the one word of memory that such a program shares with a process.
//!
//! Made by bare `bpf(2)`: no object files, no loader, no compiler. What a program does is its
//! author's business; the kernel verifies that it can do no harm before it accepts it.

mod call;
mod chain;
mod program;
mod word;

pub use chain::Chain;
pub use program::{LoadError, Program};
pub use word::{Word, WordMap};
