//! Everything that can go wrong in the balancer and is somebody's business to mend.

use std::io;
use std::net::SocketAddr;

/// A failed action of the balancer.
#[derive(Debug, thiserror::Error)]
pub enum BalancerError {
    /// A listener could not be opened; it is tried again every second.
    #[error(
        "listening on {address} failed: is another program listening there? \
         (`ss -ltnp` shows it; trying again)"
    )]
    Listen {
        /// Where to.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// The authorities of the health check are not usable.
    #[error("the health check's authorities cannot be read: check `balancer.health.caFile`")]
    Authorities {
        /// What is wrong with them.
        #[source]
        cause: io::Error,
    },
    /// The health check's path is not one.
    #[error("the health check's path {path:?} is not a path: write one like /readyz")]
    Path {
        /// As it was given.
        path: String,
    },
}
