//! One client's connection, from the choice of its backend to its end. Passes bytes through and
//! looks at none.
//!
//! ```text
//! accepted ─▶ connect (each backend in the picked order, 500 ms each) ─▶ copy ─▶ closed
//!                 │ none answers                                          │ backend or listener cut
//!                 └──────────────────────▶ reset ◀────────────────────────┘
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::backend::Backend;
use crate::counted::Counted;
use crate::listener::tune;

/// How long a connect may take before the next backend is tried: three times the first
/// retransmission would be 3 s, far too long; on one network a live host answers within 1 ms.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// Bytes buffered per direction.
const BUFFER_BYTES: usize = 16 * 1024;

/// Serves one client until either side is done. `order` is what `pick` chose; `listener_cut`
/// changes when all clients of the listener are to go.
pub(crate) async fn serve(
    client: TcpStream,
    order: Vec<Arc<Backend>>,
    mut listener_cut: watch::Receiver<u64>,
) {
    if tune(&client).is_err() {
        // Gone already.
        return;
    }
    let connected = tokio::select! {
        connected = connect(&order) => connected,
        _ = listener_cut.changed() => None,
    };
    let Some((backend, stream, mut backend_cut)) = connected else {
        reset(&client);
        return;
    };
    let _open = Open::count(&backend);
    let mut client = client;
    let mut server = Counted {
        stream,
        backend: &backend,
    };
    tokio::select! {
        // However it ended, both sockets close when they go out of scope here.
        _ended = copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER_BYTES, BUFFER_BYTES) => {}
        _ = backend_cut.changed() => {
            reset(&client);
            reset(&server.stream);
        }
        _ = listener_cut.changed() => {
            reset(&client);
            reset(&server.stream);
        }
    }
}

async fn connect(
    order: &[Arc<Backend>],
) -> Option<(Arc<Backend>, TcpStream, watch::Receiver<u64>)> {
    for backend in order {
        // Watched from before the connect: a verdict that turns meanwhile is not missed.
        let cut = backend.watch_cuts();
        let attempt = timeout(CONNECT_TIMEOUT, connect_one(backend.address())).await;
        if let Ok(Ok(stream)) = attempt {
            return Some((backend.clone(), stream, cut));
        }
        backend
            .counters
            .connects_failed
            .fetch_add(1, Ordering::Relaxed);
    }
    None
}

async fn connect_one(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    tune(&stream)?;
    Ok(stream)
}

/// Makes the close that follows a reset, so that the peer learns at once.
fn reset(stream: &TcpStream) {
    // Fails only if the socket is dead already.
    let _dead = stream.set_zero_linger();
}

/// Counts a connection as open for as long as it lives, however it ends.
struct Open<'a>(&'a AtomicU64);

impl<'a> Open<'a> {
    fn count(backend: &'a Backend) -> Self {
        backend.counters.total.fetch_add(1, Ordering::Relaxed);
        backend.counters.open.fetch_add(1, Ordering::Relaxed);
        Self(&backend.counters.open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
