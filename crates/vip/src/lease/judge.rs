//! Whether bytes from the network are a datagram of this lease, said by another member. It knows nothing of replays.

use khactl_lease::{Datagram, decode};

use super::authentication::Authentication;

/// For those outside the lease thread who see its datagrams pass.
pub struct Judge {
    authentication: Authentication,
    cluster: [u8; 16],
    host: u64,
}

impl Judge {
    /// With the cluster's lease key and id, and this host's id.
    pub fn new(key: &[u8; 32], cluster: [u8; 16], host: u64) -> Self {
        Self {
            authentication: Authentication::new(key),
            cluster,
            host,
        }
    }

    /// None if it is forged, truncated, oversized, of another cluster, or this host's own.
    pub fn judge(&self, bytes: &[u8]) -> Option<Datagram> {
        judge(&self.authentication, &self.cluster, self.host, bytes)
    }
}

pub(super) fn judge(
    authentication: &Authentication,
    cluster: &[u8; 16],
    host: u64,
    bytes: &[u8],
) -> Option<Datagram> {
    if !authentication.is_authentic(bytes) {
        return None;
    }
    decode(bytes)
        .ok()
        .filter(|datagram| datagram.cluster == *cluster && datagram.sender != host)
}

#[cfg(test)]
mod tests {
    use khactl_lease::{DATAGRAM_LEN, Message, encode};
    use proptest::prelude::*;

    use super::*;

    const CLUSTER: [u8; 16] = [5; 16];
    const KEY: [u8; 32] = [7; 32];

    fn signed(cluster: [u8; 16], sender: u64, seq: u64) -> [u8; DATAGRAM_LEN] {
        let mut bytes = encode(&Datagram {
            cluster,
            sender,
            incarnation: 3,
            counter: 4,
            message: Message::Query { seq },
        });
        Authentication::new(&KEY).sign(&mut bytes);
        bytes
    }

    #[test]
    fn only_datagrams_of_this_cluster_by_other_members_are_believed() {
        let judge = Judge::new(&KEY, CLUSTER, 1);
        let believed = judge.judge(&signed(CLUSTER, 2, 9)).expect("believed");
        assert_eq!(
            (believed.sender, believed.message),
            (2, Message::Query { seq: 9 })
        );
        assert_eq!(judge.judge(&signed([6; 16], 2, 9)), None, "another cluster");
        assert_eq!(judge.judge(&signed(CLUSTER, 1, 9)), None, "its own");
        let other = Judge::new(&[8; 32], CLUSTER, 1);
        assert_eq!(other.judge(&signed(CLUSTER, 2, 9)), None, "another key");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_never_believed(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
            prop_assert_eq!(Judge::new(&KEY, CLUSTER, 1).judge(&bytes), None);
        }

        #[test]
        fn a_real_datagram_with_any_byte_changed_is_not_believed(
            seq in any::<u64>(),
            place in 0..DATAGRAM_LEN,
            change in 1..=u8::MAX,
        ) {
            let mut bytes = signed(CLUSTER, 2, seq);
            bytes[place] ^= change;
            prop_assert_eq!(Judge::new(&KEY, CLUSTER, 1).judge(&bytes), None);
        }

        #[test]
        fn a_real_datagram_cut_short_or_with_more_behind_it_is_not_believed(
            length in 0..2 * DATAGRAM_LEN,
            filler in any::<u8>(),
        ) {
            let mut bytes = signed(CLUSTER, 2, 1).to_vec();
            bytes.resize(length, filler);
            let believed = Judge::new(&KEY, CLUSTER, 1).judge(&bytes).is_some();
            prop_assert_eq!(believed, length == DATAGRAM_LEN);
        }

        /// Who has the key may still be wrong: what a member signs is decoded with every check.
        #[test]
        fn whatever_is_signed_is_canonical_or_refused(bytes in prop::collection::vec(any::<u8>(), DATAGRAM_LEN)) {
            let mut bytes: [u8; DATAGRAM_LEN] = bytes.try_into().expect("that long");
            bytes[0] = 1;
            bytes[1] %= 10;
            bytes[4..20].copy_from_slice(&CLUSTER);
            Authentication::new(&KEY).sign(&mut bytes);
            if let Some(datagram) = Judge::new(&KEY, CLUSTER, 1).judge(&bytes) {
                let mut again = encode(&datagram);
                Authentication::new(&KEY).sign(&mut again);
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
