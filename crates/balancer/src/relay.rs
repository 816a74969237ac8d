//! Passes bytes between a client and its backend, both ways, until either side is done. Looks at none.
//!
//! Watches lie idle for hours by the thousand, so that a connection on which nothing moves holds no buffer: what
//! is read lies in one buffer that all connections of the thread share, and what the other side does not take at
//! once is kept until it does.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::backend::Counters;

/// Bytes read at once, and the most that one direction of a connection keeps: a few times what a TLS record
/// takes.
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    static SHARED: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Copies until both directions have ended in order, or one breaks. `rest` goes to the backend first.
pub(crate) async fn relay(
    client: &mut TcpStream,
    backend: &mut TcpStream,
    rest: Vec<u8>,
    counters: &Counters,
) -> io::Result<()> {
    let mut up = Direction::new(rest);
    let mut down = Direction::new(Vec::new());
    poll_fn(|cx| {
        let up = up.poll(cx, client, backend, &counters.bytes_to_backend)?;
        let down = down.poll(cx, backend, client, &counters.bytes_to_client)?;
        if up.is_ready() && down.is_ready() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    })
    .await
}

/// One of the two ways.
struct Direction {
    /// Read, and not taken by the other side yet.
    kept: Vec<u8>,
    taken: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The reader has said all; the other side is still to be told.
    Ending,
    Ended,
}

impl Direction {
    fn new(kept: Vec<u8>) -> Self {
        Self {
            kept,
            taken: 0,
            state: State::Open,
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
        count: &AtomicU64,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_kept(cx, to, count))?;
            match self.state {
                State::Open => ready!(self.poll_through(cx, from, to, count))?,
                State::Ending => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.state = State::Ended;
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_kept(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut TcpStream,
        count: &AtomicU64,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self.kept.get(self.taken..).filter(|rest| !rest.is_empty()) {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            count.fetch_add(written as u64, Ordering::Relaxed);
            self.taken += written;
        }
        // The memory goes back too.
        self.kept = Vec::new();
        self.taken = 0;
        Poll::Ready(Ok(()))
    }

    /// Reads once, and writes what the other side takes of it at once.
    fn poll_through(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
        count: &AtomicU64,
    ) -> Poll<io::Result<()>> {
        SHARED.with_borrow_mut(|shared| {
            let mut read = ReadBuf::new(shared);
            ready!(Pin::new(from).poll_read(cx, &mut read))?;
            let read = read.filled();
            if read.is_empty() {
                self.state = State::Ending;
                return Poll::Ready(Ok(()));
            }
            let written = match Pin::new(to).poll_write(cx, read) {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            };
            count.fetch_add(written as u64, Ordering::Relaxed);
            self.kept.extend_from_slice(&read[written..]);
            Poll::Ready(Ok(()))
        })
    }
}
