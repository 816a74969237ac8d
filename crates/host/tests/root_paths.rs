//! Packets that nobody may cut; needs root to send them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use khactl_host::preflight::{Tried, path};
use khactl_model::preflight::FullSize;

async fn size_to(address: IpAddr) -> FullSize {
    let tried = Tried {
        from: "here".to_owned(),
        to: "there".to_owned(),
        address,
        ports: Vec::new(),
        datagrams: None,
    };
    path(tried).await.full_size
}

#[tokio::test]
async fn the_largest_packet_of_loopback_comes_back_in_both_families() {
    let largest = FullSize::Passes { mtu: 65_535 };
    assert_eq!(size_to(Ipv4Addr::LOCALHOST.into()).await, largest);
    assert_eq!(size_to(Ipv6Addr::LOCALHOST.into()).await, largest);
}

#[tokio::test]
async fn a_host_that_is_not_there_is_silent_or_out_of_reach() {
    // Nobody has an address of this network (RFC 3849); there are gateways that answer for anybody of IPv4.
    let found = size_to(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()).await;
    assert!(
        matches!(found, FullSize::Silent | FullSize::Untried(_)),
        "{found:?}"
    );
}
