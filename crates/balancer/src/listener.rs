//! Opens the sockets that clients connect to. Never reads a byte from them.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
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
    // Every accepted connection inherits it: six calls less for each.
    settle(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Settings of the backend's side of a connection; the client's has them from its listener.
pub(crate) fn tune(stream: &TcpStream) -> std::io::Result<()> {
    settle(&SockRef::from(stream))
}

/// No delay, and an end to peers that are gone for good.
fn settle(socket: &Socket) -> std::io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(Duration::from_secs(30))
            .with_interval(Duration::from_secs(10))
            .with_retries(3),
    )?;
    socket.set_tcp_user_timeout(Some(Duration::from_mins(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_accepted_connection_has_the_settings_of_its_listener() {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let listener = listen(any).expect("listens");
        let address = listener.local_addr().expect("an address");
        let _client = TcpStream::connect(address).await.expect("connects");
        let (accepted, _) = listener.accept().await.expect("accepts");
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().expect("asked"));
        assert!(socket.keepalive().expect("asked"));
        assert_eq!(
            socket.tcp_keepalive_time().expect("asked"),
            Duration::from_secs(30)
        );
        assert_eq!(
            socket.tcp_user_timeout().expect("asked"),
            Some(Duration::from_mins(1))
        );
    }
}
