//! Which backend belongs to a client: rendezvous hashing. Every pair of client and backend has a distance of its
//! own, so that a backend that goes takes away no client but its own, and one that comes takes only its share.
//! Pure, and the same on every host: a client that follows the VIP to another balancer keeps its backend.

use std::net::{IpAddr, SocketAddr};

/// How far a backend is from a client; the nearest is the client's. The distances are exponentially
/// distributed with the weight as their rate, by which backends are nearest in proportion to their weights.
pub(crate) fn distance(client: IpAddr, backend: SocketAddr, weight: u8) -> f64 {
    let hash =
        [client, backend.ip()]
            .into_iter()
            .fold(mix(u64::from(backend.port())), |hash, address| {
                let [high, low] = halves(address);
                mix(mix(hash ^ high) ^ low)
            });
    // The upper half as a number above 0 and up to 1.
    let upper = u32::try_from(hash >> 32).unwrap_or(u32::MAX);
    let uniform = (f64::from(upper) + 1.0) / (f64::from(u32::MAX) + 1.0);
    -uniform.ln() / f64::from(weight.max(1))
}

/// The address in two halves; an IPv4 address is the same whether it comes mapped or not.
fn halves(address: IpAddr) -> [u64; 2] {
    let bits = match address.to_canonical() {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    let half = |bits: u128| u64::try_from(bits).unwrap_or(u64::MAX);
    [half(bits >> 64), half(bits & u128::from(u64::MAX))]
}

/// The finalizer of SplitMix64: every bit of the input changes about half of the output's.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nearest(client: IpAddr, backends: &[(SocketAddr, u8)]) -> SocketAddr {
        let of = |(address, weight): &(SocketAddr, u8)| distance(client, *address, *weight);
        let nearest = backends
            .iter()
            .min_by(|a, b| of(a).total_cmp(&of(b)))
            .expect("some backend");
        nearest.0
    }

    fn clients() -> impl Iterator<Item = IpAddr> {
        (0..10_000_u32).map(|number| IpAddr::from((0x0a4d_0000 + number).to_be_bytes()))
    }

    fn backend(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 77, 0, last], 6443))
    }

    #[test]
    fn clients_spread_by_weight() {
        let backends = [(backend(11), 1), (backend(12), 1), (backend(13), 2)];
        let count = |wanted: SocketAddr| {
            clients()
                .filter(|client| nearest(*client, &backends) == wanted)
                .count()
        };
        // Expected 2500, 2500, 5000; the standard deviation is below 50.
        assert!((2300..2700).contains(&count(backend(11))));
        assert!((4800..5200).contains(&count(backend(13))));
    }

    #[test]
    fn a_backend_that_comes_takes_only_its_share() {
        let before = [(backend(11), 1), (backend(12), 1)];
        let after = [before[0], before[1], (backend(13), 1)];
        let mut moved = 0;
        for client in clients() {
            let (old, new) = (nearest(client, &before), nearest(client, &after));
            if old != new {
                assert_eq!(new, backend(13), "nobody moves between those that stay");
                moved += 1;
            }
        }
        assert!((3100..3570).contains(&moved), "{moved}");
    }

    #[test]
    fn a_mapped_address_is_the_same_client() {
        let mapped: IpAddr = "::ffff:10.77.0.9".parse().expect("address");
        let plain: IpAddr = "10.77.0.9".parse().expect("address");
        let same = distance(mapped, backend(11), 1) - distance(plain, backend(11), 1);
        assert!(same.abs() < f64::EPSILON);
    }
}
