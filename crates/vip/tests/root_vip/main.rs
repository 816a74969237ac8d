//! khavip on real interfaces and real sockets, in network namespaces. Needs root.

mod address;
mod conflict;
mod ear;
mod failover;
mod farewell;
mod fence;
mod flood;
mod links;
mod load;
mod neighbours;
mod network;
mod threads;
