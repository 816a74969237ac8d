//! A host's own private key: made on the host, never sent; what leaves is a request.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use zeroize::{Zeroize, Zeroizing};

use crate::{Pin, PkiError};

/// An ECDSA key on P-256.
pub struct LeafKey(pub(crate) KeyPair);

impl LeafKey {
    /// A new key; `what` names its owner in errors.
    pub fn generate(what: &str) -> Result<Self, PkiError> {
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map(Self)
            .map_err(|source| PkiError::GenerateKey {
                what: what.to_owned(),
                source: source.into(),
            })
    }

    /// A key from its PEM file; only P-256 keys are taken.
    pub fn from_pem(what: &str, pem: &str) -> Result<Self, PkiError> {
        KeyPair::from_pem_and_sign_algo(pem, &PKCS_ECDSA_P256_SHA256)
            .map(Self)
            .map_err(|source| PkiError::LoadKey {
                what: what.to_owned(),
                source: source.into(),
            })
    }

    /// The key as PKCS#8 PEM, for a file of mode 0600.
    pub fn pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.serialize_pem())
    }

    /// The pin of the public key.
    pub fn pin(&self) -> Pin {
        Pin::of_spki(&rcgen::PublicKeyData::subject_public_key_info(&self.0))
    }

    /// A certificate request as PEM. The common name is for people who look at it; whoever signs uses the
    /// public key alone.
    pub fn request(&self, common_name: &str) -> Result<String, PkiError> {
        let refused = |source: rcgen::Error| PkiError::MakeCertificate {
            what: common_name.to_owned(),
            source: source.into(),
        };
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        let request = params.serialize_request(&self.0).map_err(refused)?;
        request.pem().map_err(refused)
    }
}

impl Drop for LeafKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for LeafKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LeafKey({})", self.pin())
    }
}
