//! Who listens on a port, so that a taken one is reported with its owner before anything starts.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use khactl_sys::process_stat::ProcessStat;

use crate::error::HostError;
use crate::offload::offload;
use crate::process::kin::CLUSTER;
use crate::procfs;

/// Ids of clusters have fewer.
const CLUSTER_CHARS_MAX: usize = 64;

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortHolder {
    /// The address it listens on.
    pub address: SocketAddr,
    /// Its process id and short name; `None` if it is of another pid namespace.
    pub process: Option<(u32, String)>,
    /// The cluster that its process says it was started for, if it has khactl's mark.
    pub cluster: Option<String>,
}

impl fmt::Display for PortHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.process, &self.cluster) {
            (Some((pid, name)), Some(cluster)) => write!(
                f,
                "{name} (pid {pid}, started for cluster {cluster}) at {}",
                self.address
            ),
            (Some((pid, name)), None) => write!(f, "{name} (pid {pid}) at {}", self.address),
            (None, _) => write!(f, "an unknown process at {}", self.address),
        }
    }
}

/// What listens on `wanted`, or on a wildcard that covers it; `None` if it is free. A wanted
/// wildcard is taken by any listener on its port.
pub async fn holder(
    protocol: Protocol,
    wanted: SocketAddr,
) -> Result<Option<PortHolder>, HostError> {
    offload(move || holder_now(protocol, wanted)).await
}

fn holder_now(protocol: Protocol, wanted: SocketAddr) -> Result<Option<PortHolder>, HostError> {
    let tables = match protocol {
        Protocol::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Protocol::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    for table in tables {
        let text = match fs::read_to_string(table) {
            Ok(text) => text,
            // No IPv6 in this kernel.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => {
                return Err(HostError::Kernel {
                    what: "the list of sockets",
                    source,
                });
            }
        };
        for line in text.lines().skip(1) {
            let Some(socket) = parse_line(protocol, line) else {
                continue;
            };
            if collides(socket.address, wanted) {
                let process = owner(socket.inode);
                return Ok(Some(PortHolder {
                    address: socket.address,
                    cluster: process.as_ref().and_then(|(pid, _)| cluster_of(*pid)),
                    process,
                }));
            }
        }
    }
    Ok(None)
}

#[derive(Debug, PartialEq, Eq)]
struct Listener {
    address: SocketAddr,
    inode: u64,
}

/// A line of /proc/net/{tcp,udp}{,6}; `None` unless it is a socket that takes its port.
fn parse_line(protocol: Protocol, line: &str) -> Option<Listener> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    // TCP_LISTEN of the kernel's tcp_states.h; a bound datagram socket takes its port in any state.
    if protocol == Protocol::Tcp && *fields.get(3)? != "0A" {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    Some(Listener {
        address: SocketAddr::new(parse_address(address)?, u16::from_str_radix(port, 16).ok()?),
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// The kernel prints each 32-bit word of an address in the host's byte order.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = hex.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

fn collides(taken: SocketAddr, wanted: SocketAddr) -> bool {
    let (a, b) = (taken.ip().to_canonical(), wanted.ip().to_canonical());
    // An IPv6 wildcard takes IPv4 too unless it is told not to, which /proc does not show.
    let covers =
        |wide: IpAddr, other: IpAddr| wide.is_unspecified() && (wide.is_ipv6() || other.is_ipv4());
    taken.port() == wanted.port() && (a == b || covers(a, b) || covers(b, a))
}

fn owner(inode: u64) -> Option<(u32, String)> {
    let link = format!("socket:[{inode}]");
    procfs::pids().ok()?.into_iter().find_map(|pid| {
        let holds = fs::read_dir(format!("/proc/{pid}/fd"))
            .ok()?
            .flatten()
            .any(|fd| {
                fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == link.as_str())
            });
        holds.then(|| Some((pid, ProcessStat::of(pid)?.name)))?
    })
}

/// What a process says of its cluster. It may say anything: only what looks like an id is told on.
fn cluster_of(pid: u32) -> Option<String> {
    let environment = procfs::environment(pid);
    let (_, cluster) = environment.into_iter().find(|(key, _)| key == CLUSTER)?;
    let is_id = (1..=CLUSTER_CHARS_MAX).contains(&cluster.len())
        && cluster
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_id.then_some(cluster)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, UdpSocket};
    use std::process::{Command, Stdio};

    #[test]
    fn a_holder_that_khactl_started_is_named_with_its_cluster() {
        let told = |cluster: &str| {
            let mut child = Command::new("cat")
                .env(CLUSTER, cluster)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            // The kernel shows no environment before the program runs, which is later than `spawn`.
            child.stdin.as_mut().unwrap().write_all(b".").unwrap();
            child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            let told = cluster_of(child.id());
            child.kill().unwrap();
            child.wait().unwrap();
            told
        };
        assert_eq!(told("0123-abc").as_deref(), Some("0123-abc"));
        for text in ["", "two words", "\u{1b}[2J", "a".repeat(65).as_str()] {
            assert_eq!(told(text), None, "{text:?}");
        }
        let mut holder = PortHolder {
            address: SocketAddr::from(([127, 0, 0, 1], 2379)),
            process: Some((7, "etcd".to_owned())),
            cluster: Some("0123-abc".to_owned()),
        };
        assert_eq!(
            holder.to_string(),
            "etcd (pid 7, started for cluster 0123-abc) at 127.0.0.1:2379"
        );
        holder.cluster = None;
        assert_eq!(holder.to_string(), "etcd (pid 7) at 127.0.0.1:2379");
    }

    #[tokio::test]
    async fn taken_port_is_reported_with_its_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        for wanted in [
            address,
            SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()),
        ] {
            let found = holder(Protocol::Tcp, wanted).await.unwrap().expect("taken");
            assert_eq!(found.address, address);
            assert_eq!(found.process.unwrap().0, std::process::id());
        }
        let other = SocketAddr::new(Ipv4Addr::new(127, 0, 0, 2).into(), address.port());
        assert_eq!(holder(Protocol::Tcp, other).await.unwrap(), None);
        drop(listener);
        assert_eq!(holder(Protocol::Tcp, address).await.unwrap(), None);
    }

    #[tokio::test]
    async fn udp_port_is_not_a_tcp_port() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        assert!(holder(Protocol::Udp, address).await.unwrap().is_some());
    }

    #[test]
    fn addresses_are_read_in_the_kernels_byte_order() {
        if cfg!(target_endian = "little") {
            assert_eq!(parse_address("0100007F"), Some(Ipv4Addr::LOCALHOST.into()));
            assert_eq!(
                parse_address("00000000000000000000000001000000"),
                Some(Ipv6Addr::LOCALHOST.into())
            );
        }
        assert_eq!(parse_address("0100"), None);
        assert_eq!(
            parse_line(Protocol::Tcp, "0: 00000000:1A0B 00000000:0000 01"),
            None
        );
    }

    #[test]
    fn wildcard_of_ipv6_takes_the_port_of_ipv4_too() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(collides(at("[::]:6443"), at("10.77.0.11:6443")));
        assert!(collides(at("0.0.0.0:6443"), at("10.77.0.11:6443")));
        assert!(!collides(at("0.0.0.0:6443"), at("[::1]:6443")));
        assert!(!collides(at("10.77.0.11:6443"), at("10.77.0.12:6443")));
        assert!(!collides(at("10.77.0.11:6443"), at("10.77.0.11:6444")));
    }
}
