//! HMAC-SHA256 of datagrams by the cluster's lease key. It knows nothing of what they say.

use aws_lc_rs::hmac;
use khactl_lease::{AUTHENTICATED_LEN, DATAGRAM_LEN};

/// The key, ready for use.
pub(super) struct Authentication {
    key: hmac::Key,
}

impl Authentication {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        }
    }

    /// Fills in the HMAC at the end.
    pub(super) fn sign(&self, datagram: &mut [u8; DATAGRAM_LEN]) {
        let (said, mac) = datagram.split_at_mut(AUTHENTICATED_LEN);
        mac.copy_from_slice(hmac::sign(&self.key, said).as_ref());
    }

    /// Whether the HMAC at the end is right; compared in constant time.
    pub(super) fn is_authentic(&self, datagram: &[u8]) -> bool {
        datagram.len() == DATAGRAM_LEN && {
            let (said, mac) = datagram.split_at(AUTHENTICATED_LEN);
            hmac::verify(&self.key, said, mac).is_ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_another_key_and_a_truncated_datagram_are_refused() {
        let authentication = Authentication::new(&[7; 32]);
        let mut datagram = [3; DATAGRAM_LEN];
        authentication.sign(&mut datagram);
        assert!(authentication.is_authentic(&datagram));
        assert!(!Authentication::new(&[8; 32]).is_authentic(&datagram));
        assert!(!authentication.is_authentic(&datagram[..AUTHENTICATED_LEN]));
        for place in 0..DATAGRAM_LEN {
            let mut changed = datagram;
            changed[place] ^= 1;
            assert!(!authentication.is_authentic(&changed), "byte {place}");
        }
    }
}
