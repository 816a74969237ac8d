//! The hardware addresses of the lease's peers, learned from their own authenticated datagrams, and kept as permanent
//! neighbours of the kernel. Otherwise the kernel would ask for them again and again, and at times just when a lease
//! hangs on it: in measurements that cost up to 444 ms instead of 252.
//!
//! Entries of other origin are left alone. What was set here bears a mark, so that a later process finds and removes it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use khactl_lease::DATAGRAM_LEN;
use khactl_sys::packet::listening_socket;
use rustix::net::RecvFlags;

use crate::address::announcement::Mac;
use crate::address::conflict::shown;
use crate::address::filter::datagrams;
use crate::address::netlink::{Address, Netlink, Request};
use crate::address::target::same_network;
use crate::lease::Judge;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// Between two looks at the datagrams that came.
const LOOK: Duration = Duration::from_secs(1);

/// Between two times of setting the entries again: an interface that goes down forgets them.
const SET_AGAIN: Duration = Duration::from_secs(10);

/// Datagrams taken in one look. What was not read when the socket's buffer is full is lost, and more will come.
const BATCH: usize = 1_024;

/// A peer that was heard from under one incarnation is not believed to have another until it has been silent for this
/// long: a recording of an earlier life of it must not divert what is sent to it.
const SILENT: Duration = Duration::from_secs(3);

/// Who the peers are.
pub(crate) struct Acquaintance {
    /// The address of this host that datagrams arrive at.
    pub(crate) bind: SocketAddr,
    /// The other members, and where each sends from.
    pub(crate) members: BTreeMap<u64, IpAddr>,
    pub(crate) judge: Judge,
}

/// What one peer's latest datagram proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Proof {
    incarnation: u64,
    counter: u64,
    mac: Mac,
    at: Duration,
}

/// The peers of one feed.
pub(crate) struct Peers {
    acquaintance: Acquaintance,
    /// The interface of `bind`, with the length of its prefix.
    index: u32,
    prefix: u8,
    listener: OwnedFd,
    proofs: BTreeMap<u64, Proof>,
    /// What stands in the kernel by this process.
    entries: BTreeMap<IpAddr, Mac>,
    next_look: Duration,
    next_set: Duration,
}

impl Peers {
    /// None if no interface has the address at which datagrams arrive.
    pub(crate) fn meet(
        acquaintance: Acquaintance,
        own: &[Address],
        now: Duration,
    ) -> io::Result<Option<Self>> {
        let bind = acquaintance.bind;
        let Some(place) = own.iter().find(|own| own.address == bind.ip()) else {
            return Ok(None);
        };
        let ethertype = if bind.is_ipv4() { IPV4 } else { IPV6 };
        let filter = datagrams(bind.ip(), bind.port());
        Ok(Some(Self {
            index: place.index,
            prefix: place.prefix,
            listener: listening_socket(place.index, ethertype, &filter)?,
            acquaintance,
            proofs: BTreeMap::new(),
            entries: BTreeMap::new(),
            next_look: now,
            next_set: now,
        }))
    }

    /// The same peers told anew, or others on the same interface: what is known of those who stay is kept.
    pub(crate) fn inherit(&mut self, before: &Self, netlink: &mut Netlink) {
        let stays = |id: &u64| {
            let address = before.acquaintance.members.get(id);
            self.index == before.index && self.acquaintance.members.get(id) == address
        };
        self.proofs = before
            .proofs
            .iter()
            .filter(|(id, _)| stays(id))
            .map(|(id, proof)| (*id, *proof))
            .collect();
        let staying: BTreeSet<IpAddr> = self
            .proofs
            .keys()
            .filter_map(|id| self.acquaintance.members.get(id))
            .copied()
            .collect();
        for (address, mac) in &before.entries {
            if staying.contains(address) {
                self.entries.insert(*address, *mac);
            } else {
                forget(netlink, before.index, *address);
            }
        }
    }

    pub(crate) fn next(&self) -> Duration {
        self.next_look
    }

    /// The hardware addresses of all peers that have proved theirs.
    pub(crate) fn macs(&self) -> impl Iterator<Item = Mac> + '_ {
        self.proofs.values().map(|proof| proof.mac)
    }

    /// Whether this member has proved its hardware address.
    pub(crate) fn knows(&self, member: u64) -> bool {
        self.proofs.contains_key(&member)
    }

    /// Reads what came and keeps the kernel's neighbours accordingly.
    pub(crate) fn look(&mut self, now: Duration, netlink: &mut Netlink) {
        self.next_look = now + LOOK;
        let learned = self.read(now);
        if learned || now >= self.next_set {
            self.next_set = now + SET_AGAIN;
            if let Err(error) = self.set(netlink) {
                tracing::warn!(%error, "the peers' neighbour entries cannot be kept");
            }
        }
    }

    /// The interface came up again and has forgotten its neighbours.
    pub(crate) fn link_up(&mut self, index: u32, now: Duration) {
        if index == self.index {
            (self.next_look, self.next_set) = (now, now);
        }
    }

    /// Takes away what stands in the kernel by this process.
    pub(crate) fn part(self, netlink: &mut Netlink) {
        for address in self.entries.keys() {
            forget(netlink, self.index, *address);
        }
    }

    /// True if a hardware address is new.
    fn read(&mut self, now: Duration) -> bool {
        let mut learned = false;
        let mut frame = [0; 512];
        for _ in 0..BATCH {
            let Ok((length, _)) =
                rustix::net::recv(&self.listener, &mut frame, RecvFlags::DONTWAIT)
            else {
                break;
            };
            let Some((mac, from, payload)) = dissect(&frame[..length]) else {
                continue;
            };
            let Some(datagram) = self.acquaintance.judge.judge(payload) else {
                continue;
            };
            // Loopback has no hardware addresses.
            if mac == [0; 6] || self.acquaintance.members.get(&datagram.sender) != Some(&from) {
                continue;
            }
            let proof = Proof {
                incarnation: datagram.incarnation,
                counter: datagram.counter,
                mac,
                at: now,
            };
            let before = self.proofs.get(&datagram.sender).copied();
            if !supersedes(&proof, before.as_ref()) {
                continue;
            }
            self.proofs.insert(datagram.sender, proof);
            if before.is_none_or(|before| before.mac != mac) {
                tracing::info!(peer = %from, mac = %shown(mac), "where a peer of the lease is");
                learned = true;
            }
        }
        learned
    }

    fn set(&mut self, netlink: &mut Netlink) -> io::Result<()> {
        let present = netlink.neighbours()?;
        for (id, proof) in &self.proofs {
            let Some(address) = self.acquaintance.members.get(id).copied() else {
                continue;
            };
            if !same_network(address, self.acquaintance.bind.ip(), self.prefix) {
                // It is behind a router, whose hardware address this is.
                continue;
            }
            let place = (self.index, address);
            let found = present.iter().find(|e| (e.index, e.address) == place);
            let stands = found.is_some_and(|entry| entry.permanent);
            if stands && found.is_some_and(|entry| !entry.ours || entry.mac == Some(proof.mac)) {
                continue;
            }
            netlink.carry_out(&Request::set_neighbour(self.index, address, proof.mac))?;
            self.entries.insert(address, proof.mac);
        }
        Ok(())
    }
}

/// Removes what an earlier process that was killed left behind, on every interface.
pub(crate) fn clear_neighbours(netlink: &mut Netlink) -> io::Result<()> {
    for entry in netlink.neighbours()? {
        if entry.ours {
            forget(netlink, entry.index, entry.address);
        }
    }
    Ok(())
}

fn forget(netlink: &mut Netlink, index: u32, address: IpAddr) {
    match netlink.carry_out(&Request::remove_neighbour(index, address)) {
        // Gone already, perhaps with its interface.
        Ok(()) => {}
        Err(error) => tracing::debug!(%address, %error, "a neighbour entry was not removed"),
    }
}

/// A later datagram of the same life, or any of another life once the one that is known has been silent.
fn supersedes(new: &Proof, known: Option<&Proof>) -> bool {
    known.is_none_or(|known| {
        if new.incarnation == known.incarnation {
            new.counter > known.counter
        } else {
            new.at >= known.at + SILENT
        }
    })
}

/// Who sent a frame, by hardware and by IP, and the payload of the lease's length in it.
fn dissect(frame: &[u8]) -> Option<(Mac, IpAddr, &[u8])> {
    let mac = frame.get(6..12)?.try_into().ok()?;
    let (from, header): (IpAddr, usize) = match frame.get(12..14)? {
        [0x08, 0x00] => {
            let from: [u8; 4] = frame.get(26..30)?.try_into().ok()?;
            (from.into(), 4 * usize::from(frame.get(14)? & 0xf))
        }
        [0x86, 0xdd] => {
            let from: [u8; 16] = frame.get(22..38)?.try_into().ok()?;
            (from.into(), 40)
        }
        _ => return None,
    };
    // Ethernet before, UDP's own 8 bytes behind the IP header.
    let start = 14 + header + 8;
    let length = u16::from_be_bytes(frame.get(start - 4..start - 2)?.try_into().ok()?);
    if usize::from(length) != 8 + DATAGRAM_LEN {
        return None;
    }
    Some((mac, from, frame.get(start..start + DATAGRAM_LEN)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proof(incarnation: u64, counter: u64, at_s: u64) -> Proof {
        Proof {
            incarnation,
            counter,
            mac: [2; 6],
            at: Duration::from_secs(at_s),
        }
    }

    #[test]
    fn a_recording_does_not_supersede_what_a_living_peer_says() {
        let known = proof(7, 100, 50);
        assert!(supersedes(&known, None));
        assert!(supersedes(&proof(7, 101, 50), Some(&known)));
        assert!(!supersedes(&proof(7, 100, 60), Some(&known)), "again");
        assert!(!supersedes(&proof(7, 99, 60), Some(&known)), "older");
        assert!(
            !supersedes(&proof(6, 999, 52), Some(&known)),
            "another life"
        );
        assert!(
            supersedes(&proof(8, 1, 53), Some(&known)),
            "it was restarted"
        );
    }

    proptest! {
        #[test]
        fn arbitrary_frames_are_dissected_without_harm(
            mut frame in prop::collection::vec(any::<u8>(), 14..400),
            six in any::<bool>(),
        ) {
            frame[12..14].copy_from_slice(if six { &[0x86, 0xdd] } else { &[0x08, 0x00] });
            if let Some((mac, _, payload)) = dissect(&frame) {
                prop_assert_eq!(payload.len(), DATAGRAM_LEN);
                prop_assert_eq!(&frame[6..12], &mac);
            }
        }
    }

    #[test]
    fn a_frame_is_dissected_only_if_a_datagram_of_the_right_length_is_in_it() {
        let mut frame = vec![0; 6];
        frame.extend([2, 0, 0, 0, 0, 9, 0x08, 0x00, 0x45]);
        frame.extend([0; 11]);
        frame.extend([10, 0, 0, 2, 10, 0, 0, 1]);
        frame.extend([0, 1, 0x24, 0xe3]);
        let length = u16::try_from(8 + DATAGRAM_LEN).expect("short");
        frame.extend(length.to_be_bytes());
        frame.extend([0, 0]);
        frame.extend([0xab; DATAGRAM_LEN]);
        let (mac, from, payload) = dissect(&frame).expect("whole");
        assert_eq!(mac, [2, 0, 0, 0, 0, 9]);
        assert_eq!(from, IpAddr::from([10, 0, 0, 2]));
        assert_eq!(payload, [0xab; DATAGRAM_LEN]);
        for cut in 0..frame.len() {
            assert_eq!(dissect(&frame[..cut]), None, "{cut}");
        }
        frame[39] ^= 1;
        assert_eq!(dissect(&frame), None, "another length");
    }
}
