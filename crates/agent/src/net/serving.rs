//! Serves gRPC on connections that a listener has already accepted, until told to stop.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::Server;

use super::connection::Connection;
use super::error::NetError;

/// How long calls under way may go on after the stop: long enough for a Raft append, short
/// enough that a followed log does not hold up the agent's end.
const DRAIN: Duration = Duration::from_secs(2);
/// A client that went away without a word frees its place after the sum of these.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Calls at once on one connection.
const STREAMS_MAX: u32 = 256;
/// Accepted connections that wait to be served.
pub(super) const READY_MAX: usize = 16;

/// `accepting` owns the listener; it is dropped, and the listener with it, at the shutdown.
pub(super) async fn serve<S>(
    at: String,
    ready: mpsc::Receiver<Connection<S>>,
    accepting: impl Future<Output = Infallible>,
    routes: Routes,
    shutdown: impl Future<Output = ()>,
) -> Result<(), NetError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stop, stopped) = oneshot::channel::<()>();
    let incoming = ReceiverStream::new(ready).map(Ok::<_, Infallible>);
    let mut serving = pin!(
        Server::builder()
            .max_concurrent_streams(STREAMS_MAX)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, async {
                // A dropped sender means the same: stop.
                let _ = stopped.await;
            })
    );
    let ended = {
        let accepting = pin!(accepting);
        let shutdown = pin!(shutdown);
        tokio::select! {
            ended = &mut serving => Some(ended),
            never = accepting => match never {},
            () = shutdown => None,
        }
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        drop(stop);
        tokio::time::timeout(DRAIN, serving).await.unwrap_or(Ok(()))
    };
    ended.map_err(|source| NetError::Serve { at, source })
}
