//! Version 2 of the PROXY protocol: what a backend is told of a client before the client's own bytes, where the
//! backends are set up for it. Pure.

use std::net::SocketAddr;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2; the connection is the sender's own, as that of a check.
const LOCAL: u8 = 0x20;
/// Version 2; the connection is somebody else's.
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// Says that this connection is the balancer's own.
pub(crate) fn local_header() -> Vec<u8> {
    header(LOCAL, UNSPECIFIED, &[])
}

/// Says who the client is, and which of this host's addresses it called.
pub(crate) fn header_of(client: SocketAddr, called: SocketAddr) -> Vec<u8> {
    let ports = [client.port().to_be_bytes(), called.port().to_be_bytes()].concat();
    match (client, called) {
        (SocketAddr::V4(client), SocketAddr::V4(called)) => {
            let addresses = [client.ip().octets(), called.ip().octets()].concat();
            header(PROXY, TCP_OVER_IPV4, &[addresses, ports].concat())
        }
        (SocketAddr::V6(client), SocketAddr::V6(called)) => {
            let addresses = [client.ip().octets(), called.ip().octets()].concat();
            header(PROXY, TCP_OVER_IPV6, &[addresses, ports].concat())
        }
        // A listener is of one family, and so are its clients.
        _ => local_header(),
    }
}

fn header(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let length = u16::try_from(addresses.len()).unwrap_or(u16::MAX);
    let mut header = SIGNATURE.to_vec();
    header.extend([command, family]);
    header.extend(length.to_be_bytes());
    header.extend(addresses);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_ipv4_client_is_told_in_28_bytes() {
        let told = header_of(address("10.77.0.200:50000"), address("10.77.0.100:6443"));
        assert_eq!(told[..12], SIGNATURE);
        assert_eq!(
            told[12..],
            [
                0x21, 0x11, 0, 12, 10, 77, 0, 200, 10, 77, 0, 100, 0xc3, 0x50, 0x19, 0x2b
            ]
        );
    }

    #[test]
    fn an_ipv6_client_is_told_in_52_bytes() {
        let told = header_of(address("[fd77::200]:50000"), address("[fd77::100]:6443"));
        assert_eq!(told.len(), 52);
        assert_eq!(told[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!(told[16..18], [0xfd, 0x77]);
        assert_eq!(told[48..], [0xc3, 0x50, 0x19, 0x2b]);
    }

    #[test]
    fn a_check_says_that_it_is_nobodys() {
        assert_eq!(local_header()[12..], [0x20, 0x00, 0, 0]);
    }
}
