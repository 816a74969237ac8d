//! One segment with a host and a client, each in a network namespace, for the gate alone without a
//! khavip; and the client's questions. What a crashed run left is removed first.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use khactl_sys::clock::{boottime, monotonic};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::network::ip;

pub(crate) const VIPS: [&str; 2] = ["10.99.0.100", "fd00:99::100"];
/// The host's own addresses.
pub(crate) const OWN: [&str; 2] = ["10.99.0.11", "fd00:99::11"];
const CLIENT: [&str; 2] = ["10.99.0.200", "fd00:99::200"];

/// How long a silence has to last to be taken for one; answers come within a millisecond.
const SILENCE: Duration = Duration::from_millis(300);
/// Nobody listens there, so that each question is answered by a refusal.
const CLOSED_PORT: u16 = 9;

pub(crate) struct Segment {
    name: &'static str,
}

/// Which of the client's questions an address answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answers {
    /// ARP or NDP.
    pub(crate) neighbour: bool,
    /// TCP, by a reset.
    pub(crate) tcp: bool,
    /// ICMP: the port is unreachable.
    pub(crate) icmp: bool,
    /// A datagram that the host sent from there has come.
    pub(crate) sent: bool,
}

pub(crate) const ALL: Answers = Answers {
    neighbour: true,
    tcp: true,
    icmp: true,
    sent: true,
};
pub(crate) const NONE: Answers = Answers {
    neighbour: false,
    tcp: false,
    icmp: false,
    sent: false,
};

pub(crate) fn vips() -> Vec<IpAddr> {
    VIPS.map(|vip| vip.parse().expect("address")).to_vec()
}

/// A boot time so many milliseconds from now.
pub(crate) fn in_ms(ms: u64) -> u64 {
    u64::try_from(boottime().as_nanos()).expect("a young machine") + ms * 1_000_000
}

fn done(arguments: &str) {
    let output = ip(arguments);
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

impl Segment {
    /// At most four characters.
    pub(crate) fn new(name: &'static str) -> Self {
        let segment = Self { name };
        segment.delete();
        let switch = segment.namespace("s");
        done(&format!("netns add {switch}"));
        done(&format!("-n {switch} link add br0 type bridge"));
        done(&format!("-n {switch} link set br0 up"));
        for (host, addresses) in [("h", OWN), ("c", CLIENT)] {
            done(&format!("netns add {}", segment.namespace(host)));
            done(&format!("-n {} link set lo up", segment.namespace(host)));
            segment.plug(host, "eth0");
            segment.give(host, "eth0", &format!("{}/24", addresses[0]));
            segment.give(host, "eth0", &format!("{}/64", addresses[1]));
        }
        // Every question is answered, however many there are.
        segment.within("h", || {
            for file in ["ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"] {
                std::fs::write(format!("/proc/sys/net/{file}"), "0").expect("set");
            }
        });
        segment
    }

    /// A host with the VIPs and no gate.
    pub(crate) fn with_vips(name: &'static str) -> Self {
        let segment = Self::new(name);
        segment.give("h", "eth0", &format!("{}/32", VIPS[0]));
        segment.give("h", "eth0", &format!("{}/128", VIPS[1]));
        segment
    }

    /// Another interface on the segment.
    pub(crate) fn plug(&self, host: &str, interface: &str) {
        let (switch, namespace) = (self.namespace("s"), self.namespace(host));
        let port = format!("{host}-{interface}");
        done(&format!(
            "-n {switch} link add {port} type veth peer name {interface} netns {namespace}"
        ));
        done(&format!("-n {switch} link set {port} master br0 up"));
        done(&format!("-n {namespace} link set {interface} up"));
    }

    pub(crate) fn give(&self, host: &str, interface: &str, address: &str) {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        let namespace = self.namespace(host);
        done(&format!(
            "-n {namespace} addr add {address} dev {interface} {nodad}"
        ));
    }

    pub(crate) fn namespace(&self, host: &str) -> String {
        format!("khgate-{}-{host}", self.name)
    }

    /// Acts on a thread inside the host's namespace.
    pub(crate) fn within<T: Send + 'static>(
        &self,
        host: &str,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let path = format!("/run/netns/{}", self.namespace(host));
        let file = File::open(path).expect("namespace");
        std::thread::spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("setns");
            act()
        })
        .join()
        .expect("no panic in the namespace")
    }

    /// The number of the host's interface.
    pub(crate) fn index(&self, interface: &'static str) -> u32 {
        self.within("h", move || {
            let all = khactl_sys::interfaces::list().expect("interfaces");
            let found = all.iter().find(|found| found.name == interface);
            found.expect("the interface").index
        })
    }

    /// The hardware address by which `host` knows `address`, asked anew.
    pub(crate) fn neighbour(&self, host: &str, address: &str) -> Option<String> {
        let namespace = self.namespace(host);
        ip(&format!("-n {namespace} neigh flush to {address}"));
        let to = SocketAddr::new(address.parse().expect("address"), CLOSED_PORT);
        self.within(host, move || drop(send(to)));
        let deadline = monotonic() + SILENCE;
        while monotonic() < deadline {
            let output = ip(&format!("-n {namespace} neigh show to {address}"));
            let shown = String::from_utf8_lossy(&output.stdout).into_owned();
            let mut words = shown
                .split_whitespace()
                .skip_while(|word| *word != "lladdr");
            if let Some(mac) = words.nth(1) {
                return Some(mac.to_owned());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// What `from` gets out of `address`, which `to` has.
    pub(crate) fn ask(&self, from: &str, to: &'static str, address: &'static str) -> Answers {
        let neighbour = self.neighbour(from, address).is_some();
        // The questions after the first are not to be stopped by the neighbour's silence.
        let mac = self.mac(to, "eth0");
        let namespace = self.namespace(from);
        done(&format!(
            "-n {namespace} neigh replace {address} lladdr {mac} dev eth0 nud permanent"
        ));
        let remote: SocketAddr = SocketAddr::new(address.parse().expect("address"), CLOSED_PORT);
        let (tcp, icmp) = self.within(from, move || {
            // Of the same namespace.
            let icmp = std::thread::spawn(move || icmp(remote));
            (tcp(remote), icmp.join().expect("asked"))
        });
        let sent = self.hears(from, to, address);
        ip(&format!("-n {namespace} neigh del {address} dev eth0"));
        Answers {
            neighbour,
            tcp,
            icmp,
            sent,
        }
    }

    fn hears(&self, listener: &str, speaker: &str, source: &'static str) -> bool {
        let family = usize::from(source.contains(':'));
        let own = if listener == "c" { CLIENT } else { OWN }[family];
        let here: IpAddr = own.parse().expect("address");
        let socket = self.within(listener, move || UdpSocket::bind((here, 0)).expect("bind"));
        let to = socket.local_addr().expect("bound");
        // Its own question for the listener's hardware address is not what is asked here.
        let (mac, namespace) = (self.mac(listener, "eth0"), self.namespace(speaker));
        done(&format!(
            "-n {namespace} neigh replace {here} lladdr {mac} dev eth0 nud permanent"
        ));
        self.within(speaker, move || {
            let source: IpAddr = source.parse().expect("address");
            let socket = UdpSocket::bind((source, 0)).expect("the address stands");
            // What the gate drops may show as an error at once.
            let _dropped = socket.send_to(b"heard", to);
        });
        socket.set_read_timeout(Some(SILENCE)).expect("set");
        let heard = socket.recv(&mut [0; 8]).is_ok();
        ip(&format!("-n {namespace} neigh del {here} dev eth0"));
        heard
    }

    pub(crate) fn mac(&self, host: &str, interface: &str) -> String {
        let namespace = self.namespace(host);
        let output = ip(&format!("-n {namespace} -o link show dev {interface}"));
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut words = shown
            .split_whitespace()
            .skip_while(|word| *word != "link/ether");
        words.nth(1).expect("an Ethernet address").to_owned()
    }

    /// Both VIPs of the host, as the client sees them.
    pub(crate) fn vips(&self) -> [Answers; 2] {
        std::thread::scope(|scope| {
            VIPS.map(|vip| scope.spawn(move || self.ask("c", "h", vip)))
                .map(|asked| asked.join().expect("asked"))
        })
    }

    fn delete(&self) {
        for host in ["h", "c", "s"] {
            ip(&format!("netns del {}", self.namespace(host)));
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.delete();
    }
}

fn unspecified(to: SocketAddr) -> SocketAddr {
    match to {
        SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
    }
}

fn send(to: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(unspecified(to))?;
    socket.connect(to)?;
    socket.send(b"anybody?")?;
    Ok(socket)
}

fn tcp(to: SocketAddr) -> bool {
    match TcpStream::connect_timeout(&to, SILENCE) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionRefused,
    }
}

fn icmp(to: SocketAddr) -> bool {
    let answer = send(to).and_then(|socket| {
        socket.set_read_timeout(Some(SILENCE))?;
        socket.recv(&mut [0; 8])
    });
    answer.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}
