//! The balancer between real sockets on loopback.

mod balancing;
mod server;
mod tls_health;
