//! The key pair that signs service-account tokens.
//!
//! ECDSA on P-256, as PKCS#8 `PRIVATE KEY` and PKIX `PUBLIC KEY`: kube-apiserver (signing key, verification key)
//! and kube-controller-manager (signing key) read both forms since long before 1.20 and then sign with ES256.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use zeroize::{Zeroize, Zeroizing};

use crate::PkiError;

/// The two halves as PEM.
pub struct ServiceAccountKeys {
    /// For `--service-account-signing-key-file` and `--service-account-private-key-file`; 0600.
    pub private_pem: Zeroizing<String>,
    /// For `--service-account-key-file`.
    pub public_pem: String,
}

impl ServiceAccountKeys {
    /// The name under which the private half is sealed.
    pub const NAME: &'static str = "service-account";

    /// A new pair.
    pub fn generate() -> Result<Self, PkiError> {
        let mut pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|source| {
            PkiError::GenerateKey {
                what: Self::NAME.to_owned(),
                source: source.into(),
            }
        })?;
        let keys = Self {
            private_pem: Zeroizing::new(pair.serialize_pem()),
            public_pem: pair.public_key_pem(),
        };
        pair.zeroize();
        Ok(keys)
    }
}

impl std::fmt::Debug for ServiceAccountKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServiceAccountKeys(secret)")
    }
}
