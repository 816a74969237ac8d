//! How this host reaches another one: TCP ports, each tried on its own, datagrams, and the size of packets.

use khactl_model::preflight::{PathFacts, PortAnswer};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;

use super::echo;
use crate::offload::offload;

/// A first packet that was lost is sent again after a second.
const PATIENCE: Duration = Duration::from_millis(2_500);
/// One may be lost, and a kernel does not complain of every one.
const DATAGRAMS: usize = 3;
const DATAGRAM_PATIENCE: Duration = Duration::from_millis(500);

/// Whom to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// This host's name.
    pub from: String,
    /// The other one's.
    pub to: String,
    /// Its address.
    pub address: IpAddr,
    /// TCP ports.
    pub ports: Vec<u16>,
    /// Where an empty datagram is sent, if at all. Only where nobody listens does something come back: the kernel's complaint.
    pub datagrams: Option<u16>,
}

/// Tries a path; takes four seconds at the most. Whoever listens sees a connection that says nothing.
pub async fn path(tried: Tried) -> PathFacts {
    let address = tried.address;
    let mut asked = JoinSet::new();
    for port in tried.ports {
        asked.spawn(async move { (port, answer(SocketAddr::new(address, port)).await) });
    }
    let datagrams = tried.datagrams;
    let (echoes, datagram) = tokio::join!(offload(move || echo::ask(address)), async move {
        match datagrams {
            Some(port) => Some(told(datagram(SocketAddr::new(address, port)).await)),
            None => None,
        }
    });
    PathFacts {
        from: tried.from,
        to: tried.to,
        address,
        ports: asked.join_all().await.into_iter().collect(),
        full_size: echoes.full_size,
        round_trip_us: echoes.round_trip_us,
        datagram,
        lease_silent_ms: None,
    }
}

async fn answer(to: SocketAddr) -> PortAnswer {
    match tokio::time::timeout(PATIENCE, TcpStream::connect(to)).await {
        Err(_) => PortAnswer::Silent,
        Ok(connected) => told(connected.map(drop)),
    }
}

/// Sends until something comes back.
async fn datagram(to: SocketAddr) -> io::Result<()> {
    let own: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((own, 0)).await?;
    socket.connect(to).await?;
    let mut answer = [0];
    for _ in 0..DATAGRAMS {
        socket.send(&[]).await?;
        let came = tokio::time::timeout(DATAGRAM_PATIENCE, socket.recv(&mut answer)).await;
        if let Ok(came) = came {
            return came.map(drop);
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn told(tried: io::Result<()>) -> PortAnswer {
    match tried {
        Ok(()) => PortAnswer::Open,
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
                PortAnswer::Refused
            }
            io::ErrorKind::TimedOut => PortAnswer::Silent,
            _ => PortAnswer::NoWay(error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpSocket};

    #[tokio::test]
    async fn a_listener_is_told_from_a_port_that_nobody_has() {
        let here = IpAddr::from(Ipv4Addr::LOCALHOST);
        let listener = TcpListener::bind((here, 0)).await.unwrap();
        let open = listener.local_addr().unwrap().port();
        // Bound and not listening: nobody else gets it meanwhile.
        let silent = TcpSocket::new_v4().unwrap();
        silent.bind(SocketAddr::new(here, 0)).unwrap();
        let closed = silent.local_addr().unwrap().port();
        // It takes datagrams from itself alone.
        let taken = UdpSocket::bind((here, 0)).await.unwrap();
        taken.connect(taken.local_addr().unwrap()).await.unwrap();
        let facts = path(Tried {
            from: "cp1".to_owned(),
            to: "cp2".to_owned(),
            address: here,
            ports: vec![open, closed],
            datagrams: Some(taken.local_addr().unwrap().port()),
        })
        .await;
        assert_eq!(facts.ports[&open], PortAnswer::Open);
        assert_eq!(facts.ports[&closed], PortAnswer::Refused);
        assert_eq!(facts.datagram, Some(PortAnswer::Refused));
    }
}
