//! The VIP on this host: adding and removing it, announcing it, guarding it while it is held and
//! clearing it away when a predecessor left it behind. Who holds it is the lease's to decide.
//!
//! ```text
//!  lease thread ──▶ Port (add, remove, announce: one system call each, all prepared)
//!    ▲               │ Hold: wanted, deadline
//!    │ announce!     ▼
//!  keeper thread: renews and mends the address, watches the kernel's news, asks and listens who else
//!                 claims the VIP (conflict), keeps the peers' neighbour entries (peers)
//! ```

mod announcement;
mod conflict;
mod filter;
mod hold;
mod inquiry;
mod keeper;
mod leftover;
mod neighbour;
mod netlink;
mod observed;
mod peers;
mod port;
mod target;

pub use hold::Hold;
pub use keeper::Keeper;
pub use leftover::Leftover;
pub use neighbour::quiet_other_interfaces;
pub use observed::Observed;
pub use port::Port;
pub use target::{Selector, Target, Vip};

pub(crate) use netlink::Netlink;
pub(crate) use peers::{Acquaintance, clear_neighbours};
