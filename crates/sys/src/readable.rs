//! Waiting for a descriptor of the kernel's own kinds (pidfd, inotify) in an async task.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers `fd` with the runtime that the caller runs in; wait with `readable()`.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is open and owned, moves into the `AsyncFd`, and an `OwnedFd` gives the
    // same number for its whole life.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pipe_is_readable_once_its_writer_is_gone() {
        let (reader, writer) = io::pipe().unwrap();
        let reader = readable(reader.into()).unwrap();
        drop(writer);
        let _ready = reader.readable().await.unwrap();
    }
}
