//! Faults of the host that holds the VIP, inflicted on a whole cluster that serves, and what an oracle
//! and a client saw of each.
//!
//! Nothing here judges by milliseconds: the oracle says whether two hosts ever answered at once, states say
//! whether the cluster recovered, and the outages are told to whoever reads them.

mod course;
mod fault;
mod strike;
mod table;
mod trial;
mod watched;

pub use fault::{Fault, Then};
pub use strike::Struck;
pub use table::table;
pub use trial::Trial;
pub use watched::Watched;
