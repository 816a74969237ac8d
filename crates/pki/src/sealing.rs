//! The cluster's sealing key: secrets lie in the replicated state encrypted with it (AES-256-GCM).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::PkiError;

/// Length of the nonce that `seal` takes: fresh random bytes for every secret.
pub const NONCE_BYTES: usize = NONCE_LEN;

/// 32 secret bytes, the same on every control-plane host.
#[derive(Clone)]
pub struct SealingKey(Zeroizing<[u8; 32]>);

impl SealingKey {
    /// The key from random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key as a file or a message holds it: 32 raw bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, PkiError> {
        let key = bytes
            .try_into()
            .map_err(|_| PkiError::SealingKeyLength { bytes: bytes.len() })?;
        Ok(Self::new(key))
    }

    /// The raw key, for the file (0600) and for a host that joins over mutual TLS.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Encrypts a secret. It opens only under the same cluster id and name, so that nobody who can write to the
    /// state can put one secret in the place of another. The nonce must never be used twice.
    pub fn seal(
        &self,
        cluster_id: &str,
        name: &str,
        nonce: [u8; NONCE_BYTES],
        secret: &[u8],
    ) -> Result<Vec<u8>, PkiError> {
        let refused = || PkiError::Seal {
            what: name.to_owned(),
        };
        let mut text = Zeroizing::new(secret.to_vec());
        let tag = self
            .cipher()
            .and_then(|cipher| {
                let aad = Aad::from(associated(cluster_id, name));
                cipher
                    .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, &mut text)
                    .ok()
            })
            .ok_or_else(refused)?;
        Ok([nonce.as_slice(), text.as_slice(), tag.as_ref()].concat())
    }

    /// Decrypts what `seal` made under the same cluster id and name.
    pub fn unseal(
        &self,
        cluster_id: &str,
        name: &str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, PkiError> {
        let refused = || PkiError::Unseal {
            what: name.to_owned(),
        };
        let (nonce, text) = sealed
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or_else(refused)?;
        let mut text = Zeroizing::new(text.to_vec());
        let aad = Aad::from(associated(cluster_id, name));
        let length = self
            .cipher()
            .ok_or_else(refused)?
            .open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut text)
            .map_err(|_| refused())?
            .len();
        text.truncate(length);
        Ok(text)
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, self.0.as_slice())
            .ok()
            .map(LessSafeKey::new)
    }
}

/// The length before the first part keeps ("ab", "c") and ("a", "bc") apart.
fn associated(cluster_id: &str, name: &str) -> Vec<u8> {
    let mut text = b"khactl sealed secret v1\0".to_vec();
    text.extend((cluster_id.len() as u64).to_be_bytes());
    text.extend(cluster_id.as_bytes());
    text.extend(name.as_bytes());
    text
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; NONCE_BYTES] = [7; NONCE_BYTES];

    #[test]
    fn a_sealed_secret_opens_only_with_its_key_its_cluster_and_its_name() {
        let key = SealingKey::new([1; 32]);
        let sealed = key.seal("c1", "etcd", NONCE, b"secret").unwrap();
        assert_eq!(
            key.unseal("c1", "etcd", &sealed).unwrap().as_slice(),
            b"secret"
        );
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        for (other, cluster, name) in [
            (SealingKey::new([2; 32]), "c1", "etcd"),
            (key.clone(), "c2", "etcd"),
            (key.clone(), "c1", "kubernetes"),
            (key.clone(), "c1e", "tcd"),
        ] {
            let error = other.unseal(cluster, name, &sealed).unwrap_err();
            assert!(matches!(error, PkiError::Unseal { .. }), "{error}");
        }
    }

    #[test]
    fn every_altered_or_missing_byte_is_noticed() {
        let key = SealingKey::new([1; 32]);
        let sealed = key.seal("c", "n", NONCE, b"s").unwrap();
        for index in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[index] ^= 1;
            assert!(key.unseal("c", "n", &altered).is_err());
            assert!(key.unseal("c", "n", &sealed[..index]).is_err());
        }
    }

    #[test]
    fn the_key_is_not_printed_and_has_one_length() {
        assert_eq!(
            format!("{:?}", SealingKey::new([1; 32])),
            "SealingKey(secret)"
        );
        assert!(SealingKey::from_slice(&[0; 31]).is_err());
    }
}
