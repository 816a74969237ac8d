//! The VIP on this host: adding and removing it, announcing it, guarding it while it is held and
//! clearing it away when a predecessor left it behind. Who holds it is the lease's to decide.
//!
//! ```text
//!  lease thread ──▶ Port (add, remove, announce: one system call each, all prepared)
//!                    │ Hold: wanted, deadline, repair
//!  keeper thread ◀───┘ refreshes valid_lft, watches the kernel's news, asks the port to repair
//! ```

mod announcement;
mod hold;
mod keeper;
mod leftover;
mod neighbour;
mod netlink;
mod port;
mod target;

pub use hold::Hold;
pub use keeper::{Keeper, Observed};
pub use leftover::Leftover;
pub use neighbour::quiet_other_interfaces;
pub use port::Port;
pub use target::{Selector, Target, Vip};

pub(crate) use netlink::Netlink;
