//! Bundles from a release site to a host's store, over real sockets and on a real disk.

mod creating;
mod importing;
mod programs;
mod upstream;
