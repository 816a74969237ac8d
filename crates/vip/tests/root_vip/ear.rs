//! What is said on the link about the VIP: heard, and said by a machine that should not.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use khactl_sys::capture::Instruction;
use khactl_sys::interfaces;
use khactl_sys::packet::{frame_socket, listening_socket};
use rustix::net::{RecvFlags, SendFlags};

use crate::network::{Host, Network};

/// Lets every frame pass.
const ALL: [Instruction; 1] = [Instruction {
    code: 6,
    if_true: 0,
    if_false: 0,
    value: u32::MAX,
}];

/// Hears ARP and neighbour advertisements.
pub(crate) struct Ear {
    arp: OwnedFd,
    ipv6: OwnedFd,
    /// How often which hardware address has announced which address.
    announced: BTreeMap<(String, IpAddr), usize>,
}

impl Ear {
    /// At the client's interface.
    pub(crate) fn of_client(network: &Network) -> Self {
        network.client(Self::open)
    }

    fn open() -> Self {
        let index = index();
        let open = |ethertype| listening_socket(index, ethertype, &ALL).expect("a packet socket");
        Self {
            arp: open(0x0806),
            ipv6: open(0x86dd),
            announced: BTreeMap::new(),
        }
    }

    /// Announcements of `address` by `mac` since this ear was opened.
    pub(crate) fn announcements(&mut self, address: &str, mac: &str) -> usize {
        let mut frame = [0; 256];
        for socket in [&self.arp, &self.ipv6] {
            while let Ok((length, _)) = rustix::net::recv(socket, &mut frame, RecvFlags::DONTWAIT) {
                if let Some(heard) = announced(&frame[..length]) {
                    *self.announced.entry(heard).or_default() += 1;
                }
            }
        }
        let address = address.parse().expect("address");
        let of = self.announced.get(&(mac.to_owned(), address));
        of.copied().unwrap_or(0)
    }
}

/// Who announces what in this frame: gratuitous ARP, or an unsolicited advertisement that overrides.
fn announced(frame: &[u8]) -> Option<(String, IpAddr)> {
    let mac = |at: usize| -> Option<String> {
        let bytes: Vec<String> = frame
            .get(at..at + 6)?
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        Some(bytes.join(":"))
    };
    match frame.get(12..14)? {
        [0x08, 0x06] => {
            let (sender, target) = (frame.get(28..32)?, frame.get(38..42)?);
            let octets: [u8; 4] = sender.try_into().ok()?;
            (sender == target).then(|| Some((mac(22)?, octets.into())))?
        }
        [0x86, 0xdd] if frame.get(20) == Some(&58) && frame.get(54) == Some(&136) => {
            let octets: [u8; 16] = frame.get(62..78)?.try_into().ok()?;
            (frame.get(58) == Some(&0x20)).then(|| Some((mac(80)?, octets.into())))?
        }
        _ => None,
    }
}

/// Claims the address to everybody on the link, as a machine that took it by mistake would.
pub(crate) fn claim(host: &Host, address: &str) {
    let (address, mac) = (address.parse().expect("address"), host.mac());
    host.inside(move || send_claims(address, &mac, 1));
}

/// The same very often, as a loop in a network or an attacker does.
pub(crate) fn flood_with_claims(host: &Host, address: &str, mac: &'static str, times: usize) {
    let address = address.parse().expect("address");
    host.inside(move || send_claims(address, mac, times));
}

fn send_claims(address: IpAddr, mac: &str, times: usize) {
    let mac: Vec<u8> = mac
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).expect("a byte"))
        .collect();
    let mut frame = Vec::new();
    match address {
        IpAddr::V4(address) => {
            frame.extend([0xff; 6]);
            frame.extend(&mac);
            frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
            frame.extend(&mac);
            frame.extend(address.octets());
            frame.extend([0; 6]);
            frame.extend(address.octets());
        }
        IpAddr::V6(address) => {
            frame.extend([0x33, 0x33, 0, 0, 0, 1]);
            frame.extend(&mac);
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]);
            frame.extend(address.octets());
            frame.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            // Nobody but the listener has to believe it, so its checksum is left out.
            frame.extend([136, 0, 0, 0, 0x20, 0, 0, 0]);
            frame.extend(address.octets());
            frame.extend([2, 1]);
            frame.extend(&mac);
        }
    }
    let socket = frame_socket(index()).expect("a packet socket");
    for _ in 0..times {
        match rustix::net::send(&socket, &frame, SendFlags::empty()) {
            // A flood finds full queues.
            Ok(_) | Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::AGAIN) => {}
            Err(error) => panic!("the claim was not sent: {error}"),
        }
    }
}

fn index() -> u32 {
    let all = interfaces::list().expect("interfaces");
    let found = all.iter().find(|found| found.name == "eth0");
    found.expect("the interface").index
}
