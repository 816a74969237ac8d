//! Listens for other machines that claim the VIP, and asks whether there are any. It tells what it finds; whether this
//! host then serves is decided elsewhere.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use khactl_sys::packet::{frame_socket, listening_socket};
use rustix::net::{RecvFlags, SendFlags};

use crate::address::announcement::{Mac, question};
use crate::address::filter::claims;
use crate::address::inquiry::{Inquiry, Verdict};
use crate::address::target::Target;

const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;

/// Enough of a frame to read who claims what; the rest is cut off.
const READ_BYTES: usize = 128;

/// How many frames are read in one go, so that a flood does not keep the keeper from its other work.
const BATCH: usize = 64;

/// All VIPs of this host.
pub(crate) struct Conflicts {
    places: Vec<Place>,
}

/// One of them on its interface.
struct Place {
    target: Target,
    listener: OwnedFd,
    wire: OwnedFd,
    inquiry: Inquiry,
}

impl Conflicts {
    /// Listens from now on, and begins to ask.
    pub(crate) fn open(targets: &[Target], now: Duration) -> io::Result<Self> {
        let places = targets.iter().map(|target| {
            let ethertype = if target.address.is_ipv4() { ARP } else { IPV6 };
            Ok(Place {
                listener: listening_socket(target.index, ethertype, &claims(target.address))?,
                wire: frame_socket(target.index)?,
                inquiry: Inquiry::begin(now),
                target: target.clone(),
            })
        });
        Ok(Self {
            places: places.collect::<io::Result<_>>()?,
        })
    }

    /// Become readable when something was claimed.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.places.iter().map(|place| place.listener.as_fd())
    }

    /// Which hardware addresses have claimed which address since the last time.
    pub(crate) fn read(&mut self) -> Vec<(IpAddr, Mac)> {
        let mut claims = Vec::new();
        for place in &mut self.places {
            let address = place.target.address;
            let mut frame = [0; READ_BYTES];
            for _ in 0..BATCH {
                // An interface that went down says so once; then there is nothing to read.
                let Ok((length, _)) =
                    rustix::net::recv(&place.listener, &mut frame, RecvFlags::DONTWAIT)
                else {
                    break;
                };
                claims.extend(claimant(address, &frame[..length]).map(|by| (address, by)));
            }
        }
        claims
    }

    /// This claim was made by neither this host nor one of its peers.
    pub(crate) fn claimed(&mut self, address: IpAddr, by: Mac, now: Duration) {
        let mut places = self.places.iter_mut();
        if let Some(place) = places.find(|place| place.target.address == address)
            && place.inquiry.claimed(by, now)
        {
            tracing::warn!(vip = %address, by = %shown(by), "another machine claims the VIP");
        }
    }

    /// When [`Self::ask`] has something to do.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.places
            .iter()
            .filter_map(|place| place.inquiry.next())
            .min()
    }

    /// Sends the questions that are due, as `mac`.
    pub(crate) fn ask(&mut self, now: Duration, mac: impl Fn(&Target) -> Mac) {
        for place in &mut self.places {
            if place.inquiry.is_due(now) {
                let frame = question(place.target.address, mac(&place.target));
                // A link that is down: it is asked for again when it is up.
                let _unsent = rustix::net::send(&place.wire, frame.bytes(), SendFlags::DONTWAIT);
            }
        }
    }

    /// The link came up: what was asked while it was down says nothing.
    pub(crate) fn ask_afresh(&mut self, index: u32, now: Duration) {
        for place in &mut self.places {
            if place.target.index == index && place.inquiry.verdict() != Verdict::Asking {
                place.inquiry = Inquiry::begin(now);
            }
        }
    }

    /// What is known of every address.
    pub(crate) fn verdicts(&self) -> BTreeMap<IpAddr, Verdict> {
        self.places
            .iter()
            .map(|place| (place.target.address, place.inquiry.verdict()))
            .collect()
    }
}

/// The hardware address by which `frame` claims `address`: the sender of ARP, or what an advertisement names.
fn claimant(address: IpAddr, frame: &[u8]) -> Option<Mac> {
    let mac_at = |offset: usize| -> Option<Mac> { frame.get(offset..offset + 6)?.try_into().ok() };
    match address {
        IpAddr::V4(address) => {
            let sender = frame.get(28..32)?;
            (sender == address.octets()).then(|| mac_at(22))?
        }
        IpAddr::V6(address) => {
            if frame.get(62..78)? != address.octets() {
                return None;
            }
            // The target's link-layer address, if it is the first option; else who sent it.
            match frame.get(78..80) {
                Some([2, 1]) => mac_at(80),
                _ => mac_at(6),
            }
        }
    }
}

/// As people write it.
pub(crate) fn shown(mac: Mac) -> String {
    let bytes: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::address::announcement::announcement;

    const MAC: Mac = [2, 0, 0, 0, 0, 9];

    #[test]
    fn who_announces_an_address_claims_it_and_nobody_else_does() {
        for (vip, other) in [("10.77.0.100", "10.77.0.101"), ("fd00::100", "fd00::101")] {
            let (vip, other): (IpAddr, IpAddr) =
                (vip.parse().expect("ip"), other.parse().expect("ip"));
            let frame = announcement(vip, MAC);
            assert_eq!(claimant(vip, frame.bytes()), Some(MAC));
            assert_eq!(claimant(other, frame.bytes()), None);
            assert_eq!(claimant(other, question(vip, MAC).bytes()), None);
        }
    }

    #[test]
    fn a_frame_cut_short_claims_nothing() {
        for vip in ["10.77.0.100", "fd00::100"] {
            let vip = vip.parse().expect("ip");
            let frame = announcement(vip, MAC);
            let needed = if vip.is_ipv4() { 32 } else { 78 };
            for length in 0..needed {
                assert_eq!(claimant(vip, &frame.bytes()[..length]), None, "{length}");
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_frames_are_read_without_harm(frame in prop::collection::vec(any::<u8>(), 0..READ_BYTES)) {
            for vip in ["10.77.0.100", "fd00::100"] {
                let vip: IpAddr = vip.parse().expect("ip");
                if claimant(vip, &frame).is_some() {
                    let (at, bytes) = match vip {
                        IpAddr::V4(vip) => (28, vip.octets().to_vec()),
                        IpAddr::V6(vip) => (62, vip.octets().to_vec()),
                    };
                    prop_assert_eq!(&frame[at..at + bytes.len()], &bytes[..]);
                }
            }
        }
    }

    #[test]
    fn a_hardware_address_is_shown_as_people_write_it() {
        assert_eq!(shown([0, 0x1b, 0x2c, 3, 4, 0xff]), "00:1b:2c:03:04:ff");
    }
}
