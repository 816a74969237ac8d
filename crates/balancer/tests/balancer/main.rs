//! The balancer between real sockets on loopback.

mod authority;
mod balancing;
mod ends;
mod failing;
mod methods;
mod server;
mod threads;
mod tls_health;
