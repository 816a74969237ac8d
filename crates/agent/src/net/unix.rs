//! The Unix socket of root on this host.
//!
//! Two things keep a second agent away: a lock beside the socket, held as long as the socket
//! is, and a socket on which somebody answers is never removed.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tonic::service::Routes;

use super::caller::Caller;
use super::connection::Connection;
use super::error::NetError;
use super::identity::Identity;
use super::serving::{READY_MAX, serve};

const OPEN_MAX: usize = 128;
const BACKLOG: i32 = 128;
/// As for the TLS port: nothing tells when a file descriptor gets free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The socket, bound (mode 0600) and not yet served. It is removed when this is dropped.
#[derive(Debug)]
pub struct UnixSocket {
    listener: Option<UnixListener>,
    guard: SocketGuard,
}

#[derive(Debug)]
struct SocketGuard {
    path: PathBuf,
    // Closed, and so unlocked, after the socket is removed.
    _lock: File,
}

impl Drop for SocketGuard {
    fn drop(&mut self) {
        // A socket that stays is stale, and the next agent removes it.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl UnixSocket {
    /// Makes the socket. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`NetError::AlreadyRunning`] if another agent has it, [`NetError::Socket`] otherwise.
    pub fn bind(path: &Path) -> Result<Self, NetError> {
        let failed = |doing| {
            move |source| NetError::Socket {
                doing,
                path: path.to_owned(),
                source,
            }
        };
        let lock = lock(path)?;
        remove_stale(path)?;
        let listener = listen(path).map_err(failed("make the socket"))?;
        let guard = SocketGuard {
            path: path.to_owned(),
            _lock: lock,
        };
        let listener = UnixListener::from_std(listener).map_err(failed("listen on"))?;
        Ok(Self {
            listener: Some(listener),
            guard,
        })
    }

    /// Serves `routes` to root until `shutdown` ends, and up to two seconds more for calls
    /// under way. Connections of other users are closed at once.
    ///
    /// # Errors
    /// [`NetError::Serve`]: nothing a client does leads there.
    pub async fn serve(
        mut self,
        routes: Routes,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), NetError> {
        let Some(listener) = self.listener.take() else {
            return Ok(());
        };
        let (sender, ready) = mpsc::channel(READY_MAX);
        let at = self.guard.path.display().to_string();
        serve(at, ready, accept(listener, sender), routes, shutdown).await
    }
}

fn lock(path: &Path) -> Result<File, NetError> {
    let mut name = OsString::from(path);
    name.push(".lock");
    let name = PathBuf::from(name);
    let failed = |source| NetError::Socket {
        doing: "lock",
        path: name.clone(),
        source,
    };
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&name)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(NetError::AlreadyRunning { path: path.into() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn remove_stale(path: &Path) -> Result<(), NetError> {
    let failed = |doing, source| NetError::Socket {
        doing,
        path: path.into(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed("look at", source)),
        Ok(found) if !found.file_type().is_socket() => {
            let source = io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is something that is no socket",
            );
            return Err(failed("make the socket", source));
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(NetError::AlreadyRunning { path: path.into() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|e| failed("remove the stale socket", e))
        }
        Err(source) => Err(failed("look who answers on", source)),
    }
}

/// Linux gives the new file the mode that the socket had before the bind, less the umask: so
/// there is no moment at which others may connect.
fn listen(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

async fn accept(listener: UnixListener, ready: mpsc::Sender<Connection<UnixStream>>) -> Infallible {
    let places = Arc::new(Semaphore::new(OPEN_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a local connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let uid = match stream.peer_cred() {
            Ok(peer) => peer.uid(),
            Err(error) => {
                tracing::debug!(%error, "a local connection without credentials is closed");
                continue;
            }
        };
        let Some(identity) = Identity::of_uid(uid) else {
            tracing::warn!(
                uid,
                "a local connection of another user than root is closed"
            );
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!("too many open local connections: this one is closed");
            continue;
        };
        let caller = Caller {
            identity,
            local: true,
            key_pin: None,
            address: None,
        };
        // The receiver is gone only at the shutdown; then so is this connection.
        let _ = ready.send(Connection::new(stream, caller, place)).await;
    }
}
