//! One frame by which a machine answered for a VIP. Pure: bytes in, a sighting out.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.map(|byte| format!("{byte:02x}")).join(":"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads `02:6b:68:00:00:0b`.
pub(super) fn mac_of(text: &str) -> Option<Mac> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(Mac(mac))
}

/// By what a machine answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// ARP with the VIP as sender.
    Arp,
    /// A neighbour advertisement with the VIP as target.
    Ndp,
    /// IP with the VIP as source.
    Ip,
}

/// A machine answered for a VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// When its frame entered the switch (`CLOCK_BOOTTIME`).
    pub at: Duration,
    /// Who sent it.
    pub mac: Mac,
    /// Which VIP.
    pub vip: IpAddr,
    /// By what.
    pub how: How,
}

impl Sighting {
    /// Reads a frame; none if it is not one by which its sender answers for one of the VIPs.
    pub fn read(frame: &[u8], at: Duration, vips: &[IpAddr]) -> Option<Self> {
        let mac = Mac(bytes(frame, 6)?);
        let (claimed, how) = claimed(frame)?;
        let seen = |vip: IpAddr| Self { at, mac, vip, how };
        vips.contains(&claimed).then(|| seen(claimed))
    }
}

/// The address for which the frame's sender speaks.
fn claimed(frame: &[u8]) -> Option<(IpAddr, How)> {
    match bytes(frame, 12)? {
        ARP => Some((v4(frame, 28)?, How::Arp)),
        IPV4 => Some((v4(frame, 26)?, How::Ip)),
        IPV6 => {
            let [next] = bytes(frame, 20)?;
            let [kind] = bytes(frame, 54).unwrap_or([0]);
            if next == ICMPV6 && kind == NEIGHBOUR_ADVERTISEMENT {
                Some((v6(frame, 62)?, How::Ndp))
            } else {
                Some((v6(frame, 22)?, How::Ip))
            }
        }
        _ => None,
    }
}

fn v4(frame: &[u8], offset: usize) -> Option<IpAddr> {
    Some(Ipv4Addr::from(bytes::<4>(frame, offset)?).into())
}

fn v6(frame: &[u8], offset: usize) -> Option<IpAddr> {
    Some(Ipv6Addr::from(bytes::<16>(frame, offset)?).into())
}

fn bytes<const N: usize>(frame: &[u8], offset: usize) -> Option<[u8; N]> {
    frame.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: [u8; 6] = [2, 0x6b, 0x68, 0, 0, 0x0b];
    const NOW: Duration = Duration::from_secs(5);

    fn vips() -> [IpAddr; 2] {
        ["10.77.0.100".parse().unwrap(), "fd77::100".parse().unwrap()]
    }

    fn frame(kind: [u8; 2], rest: &[(usize, &[u8])]) -> Vec<u8> {
        let mut frame = vec![0; 86];
        frame[6..12].copy_from_slice(&HOST);
        frame[12..14].copy_from_slice(&kind);
        for (offset, bytes) in rest {
            frame[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        frame
    }

    fn how(frame: &[u8]) -> Option<How> {
        let seen = Sighting::read(frame, NOW, &vips())?;
        assert_eq!((seen.at, seen.mac), (NOW, Mac(HOST)));
        Some(seen.how)
    }

    #[test]
    fn arp_counts_for_its_sender_and_not_for_its_target() {
        let vip = [10, 77, 0, 100];
        assert_eq!(how(&frame(ARP, &[(28, &vip)])), Some(How::Arp));
        assert_eq!(how(&frame(ARP, &[(38, &vip)])), None);
        // A probe (RFC 5227) has no sender.
        assert_eq!(how(&frame(ARP, &[(28, &[0; 4]), (38, &vip)])), None);
    }

    #[test]
    fn ip_counts_for_its_source_and_not_for_its_destination() {
        let vip = [10, 77, 0, 100];
        assert_eq!(how(&frame(IPV4, &[(26, &vip)])), Some(How::Ip));
        assert_eq!(how(&frame(IPV4, &[(30, &vip)])), None);
        let six: Ipv6Addr = "fd77::100".parse().unwrap();
        assert_eq!(how(&frame(IPV6, &[(22, &six.octets())])), Some(How::Ip));
        assert_eq!(how(&frame(IPV6, &[(38, &six.octets())])), None);
    }

    #[test]
    fn an_advertisement_counts_for_its_target_and_a_solicitation_does_not() {
        let six: Ipv6Addr = "fd77::100".parse().unwrap();
        let about = |kind: u8| frame(IPV6, &[(20, &[ICMPV6]), (54, &[kind]), (62, &six.octets())]);
        assert_eq!(how(&about(136)), Some(How::Ndp));
        assert_eq!(how(&about(135)), None);
    }

    #[test]
    fn frames_cut_off_anywhere_are_read_without_harm() {
        let six: Ipv6Addr = "fd77::100".parse().unwrap();
        for kind in [ARP, IPV4, IPV6] {
            let whole = frame(kind, &[(28, &[10, 77, 0, 100]), (62, &six.octets())]);
            for len in 0..whole.len() {
                let _ = Sighting::read(&whole[..len], NOW, &vips());
            }
        }
    }

    #[test]
    fn a_mac_is_written_as_it_is_read() {
        assert_eq!(mac_of("02:6b:68:00:00:0b"), Some(Mac(HOST)));
        assert_eq!(Mac(HOST).to_string(), "02:6b:68:00:00:0b");
        for wrong in ["", "02:6b", "02:6b:68:00:00:0b:0c", "02:6b:68:00:00:xx"] {
            assert_eq!(mac_of(wrong), None, "{wrong}");
        }
    }
}
