//! SHA-256 over a public key (its SubjectPublicKeyInfo): how a key is named before it can be verified.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use subtle::ConstantTimeEq;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::hex;

/// Chains of more than this many certificates are refused: ours have two.
const CHAIN_MAX: usize = 8;

/// The pin of a public key. As text `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy)]
pub struct Pin([u8; 32]);

/// The text is no pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pin is sha256: and 64 hexadecimal digits")]
pub struct NotAPin;

/// Why a presented chain is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PinRefusal {
    /// No leaf, or too many certificates.
    #[error("the other side presented {count} certificates, and a leaf with its authority are two")]
    Length {
        /// How many came.
        count: usize,
    },
    /// Something in the chain is no certificate.
    #[error("certificate {index} of the chain cannot be read")]
    Unreadable {
        /// Its place, from 0 for the leaf.
        index: usize,
    },
    /// None of the authorities has the pinned key.
    #[error(
        "the authority that the other side presented has the pin {presented}, and the token's is {pinned}: \
         this is another cluster, or somebody stands between; make a new token on a host of the right cluster"
    )]
    OtherAuthority {
        /// The pin of the last certificate of the chain.
        presented: Pin,
        /// The pin asked for.
        pinned: Pin,
    },
    /// The pinned certificate may not sign others.
    #[error("the pinned certificate is not an authority's")]
    NotAnAuthority,
    /// The leaf was signed by another key.
    #[error("the other side's certificate is not signed by the pinned authority")]
    NotSigned,
    /// The leaf or the authority is not valid now.
    #[error(
        "the other side's certificate is valid from {not_before} to {not_after} (Unix seconds), and it is {now}; check both clocks"
    )]
    NotValidNow {
        /// Unix seconds.
        not_before: i64,
        /// Unix seconds.
        not_after: i64,
        /// Unix seconds.
        now: i64,
    },
    /// The leaf is a client's.
    #[error("the other side's certificate is not a server's")]
    NotAServer,
}

impl Pin {
    /// The pin of a DER-encoded SubjectPublicKeyInfo.
    pub fn of_spki(spki_der: &[u8]) -> Self {
        Self::of_digest(digest(&SHA256, spki_der).as_ref())
    }

    fn of_digest(digest: &[u8]) -> Self {
        Self(digest.try_into().expect("SHA-256 has 32 bytes"))
    }

    /// The pin of a DER-encoded certificate's key; none if it cannot be read.
    pub fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(Self::of_spki(certificate.public_key().raw))
    }

    /// The pin of these 32 bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 digits without `sha256:`.
    pub fn to_hex(self) -> String {
        hex::encode(&self.0)
    }

    /// Trusts a chain (leaf first, DER) only if it holds an authority with this pin that signed the leaf, and
    /// if the leaf is a server's and both are valid at `now_s` (Unix seconds). The peer must present its
    /// authority along with its leaf. Names are not looked at: whoever joins knows only an address.
    pub fn verify_chain<C: AsRef<[u8]>>(&self, chain: &[C], now_s: i64) -> Result<(), PinRefusal> {
        if !(2..=CHAIN_MAX).contains(&chain.len()) {
            return Err(PinRefusal::Length { count: chain.len() });
        }
        let mut certificates = Vec::with_capacity(chain.len());
        for (index, der) in chain.iter().enumerate() {
            let read = X509Certificate::from_der(der.as_ref())
                .ok()
                .filter(|(rest, _)| rest.is_empty());
            let (_, certificate) = read.ok_or(PinRefusal::Unreadable { index })?;
            certificates.push(certificate);
        }
        let (leaf, authorities) = certificates
            .split_first()
            .ok_or(PinRefusal::Length { count: 0 })?;
        let mut presented = *self;
        let mut pinned = None;
        for authority in authorities {
            presented = Self::of_spki(authority.public_key().raw);
            if presented == *self {
                pinned = Some(authority);
                break;
            }
        }
        let authority = pinned.ok_or(PinRefusal::OtherAuthority {
            presented,
            pinned: *self,
        })?;
        if !authority.is_ca() {
            return Err(PinRefusal::NotAnAuthority);
        }
        let signed = leaf.issuer().as_raw() == authority.subject().as_raw()
            && leaf.verify_signature(Some(authority.public_key())).is_ok();
        if !signed {
            return Err(PinRefusal::NotSigned);
        }
        valid_at(authority, now_s)?;
        valid_at(leaf, now_s)?;
        let serves = leaf
            .extended_key_usage()
            .ok()
            .flatten()
            .is_some_and(|usage| usage.value.server_auth);
        if !serves || leaf.is_ca() {
            return Err(PinRefusal::NotAServer);
        }
        Ok(())
    }
}

fn valid_at(certificate: &X509Certificate<'_>, now: i64) -> Result<(), PinRefusal> {
    let validity = certificate.validity();
    let valid = ASN1Time::from_timestamp(now).is_ok_and(|time| validity.is_valid_at(time));
    valid.then_some(()).ok_or(PinRefusal::NotValidNow {
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
        now,
    })
}

/// In constant time, though a pin is no secret: so nobody needs to ask.
impl PartialEq for Pin {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Pin {}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.to_hex())
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Pin {
    type Err = NotAPin;

    /// With or without `sha256:`.
    fn from_str(text: &str) -> Result<Self, NotAPin> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        hex::decode(digits).map(Self).ok_or(NotAPin)
    }
}
