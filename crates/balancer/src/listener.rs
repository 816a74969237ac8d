//! Opens the sockets that clients connect to. Never reads a byte from them.

use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::error::BalancerError;

/// Clients that may wait to be accepted; the kernel caps it by `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// Listens also on an address that this host does not have yet (`IP_FREEBIND`): the VIP comes and
/// goes in microseconds, and the listener stays.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, BalancerError> {
    open(address).map_err(|cause| BalancerError::Listen { address, cause })
}

fn open(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Settings of both sides of a connection: no delay, and an end to peers that are gone for good.
pub(crate) fn tune(stream: &TcpStream) -> std::io::Result<()> {
    use std::time::Duration;
    stream.set_nodelay(true)?;
    let socket = socket2::SockRef::from(stream);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(Duration::from_secs(30))
            .with_interval(Duration::from_secs(10))
            .with_retries(3),
    )?;
    socket.set_tcp_user_timeout(Some(Duration::from_mins(1)))
}
