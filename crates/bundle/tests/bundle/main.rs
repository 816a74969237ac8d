//! Bundles from a release site to a host's store, over real sockets and on a real disk.

mod creating;
mod front;
mod importing;
mod programs;
mod proxy;
mod secure;
mod upstream;
