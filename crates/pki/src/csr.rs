//! A certificate request from outside: checked, and reduced to its public key.

use rcgen::SubjectPublicKeyInfo;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY};
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

use crate::{Pin, PkiError};

/// A request for a P-256 key is about 400 bytes of PEM; subjects and extensions are not wanted anyway.
const PEM_BYTES_MAX: usize = 16 * 1024;

/// The public key of a request whose sender owns the private key.
#[derive(Debug)]
pub struct CheckedRequest {
    pub(crate) public_key: SubjectPublicKeyInfo,
    pin: Pin,
}

impl CheckedRequest {
    /// Checks the request's signature by its own key and takes the key; subject, names and extensions in the
    /// request are dropped unread.
    pub fn from_pem(pem: &str) -> Result<Self, PkiError> {
        let refused = |reason| PkiError::BadRequest { reason };
        if pem.len() > PEM_BYTES_MAX {
            return Err(refused("it is larger than 16 KiB"));
        }
        let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes())
            .map_err(|_| refused("it is not PEM"))?;
        let Pem { label, contents } = block;
        if label != "CERTIFICATE REQUEST" && label != "NEW CERTIFICATE REQUEST" {
            return Err(refused("its PEM block is not a CERTIFICATE REQUEST"));
        }
        let (rest, request) = X509CertificationRequest::from_der(&contents)
            .map_err(|_| refused("it is not a PKCS#10 request"))?;
        if !rest.is_empty() {
            return Err(refused("something follows it"));
        }
        let spki = &request.certification_request_info.subject_pki;
        let curve = spki
            .algorithm
            .parameters
            .as_ref()
            .and_then(|any| any.as_oid().ok());
        if spki.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY || curve != Some(OID_EC_P256) {
            return Err(refused("its key is not an ECDSA key on P-256"));
        }
        // Signatures and points are whole bytes; a stray count of unused bits would pass unnoticed.
        if request.signature_value.unused_bits != 0 || spki.subject_public_key.unused_bits != 0 {
            return Err(refused(
                "its key or its signature is not a number of whole bytes",
            ));
        }
        request
            .verify_signature()
            .map_err(|_| refused("it is not signed by its own key"))?;
        let public_key = SubjectPublicKeyInfo::from_der(spki.raw)
            .map_err(|_| refused("its key cannot be read"))?;
        Ok(Self {
            public_key,
            pin: Pin::of_spki(spki.raw),
        })
    }

    /// The pin of the key: the same for every request of one key.
    pub const fn pin(&self) -> Pin {
        self.pin
    }
}
