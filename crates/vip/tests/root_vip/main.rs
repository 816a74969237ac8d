//! khavip on real interfaces and real sockets, in network namespaces. Needs root.

mod address;
mod failover;
mod network;
