//! A certificate as it is: what plans and `khactl certs list` need to know of it.

use std::fmt;
use std::net::IpAddr;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use crate::{Pin, PkiError, hex};

/// Files of certificates are a few KiB; a larger one is something else.
const PEM_BYTES_MAX: usize = 1024 * 1024;

/// A name or an address that a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum San {
    /// A DNS name.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

impl San {
    pub(crate) fn dns(name: &str) -> Self {
        Self::Dns(name.to_owned())
    }

    /// An address if the text is one, else a name.
    pub fn of(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::dns(text), Self::Ip)
    }
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafFacts {
    /// CN; empty if there is none.
    pub common_name: String,
    /// Every O.
    pub organizations: Vec<String>,
    /// The issuer's CN; empty if it has none.
    pub issuer: String,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// Unix seconds.
    pub not_before_s: i64,
    /// Unix seconds.
    pub not_after_s: i64,
    /// Names and addresses as sorted text.
    pub sans: Vec<String>,
    /// The pin of its public key.
    pub pin: Pin,
    /// SHA-256 of the whole certificate in hexadecimal.
    pub sha256: String,
    /// May it sign others?
    pub is_authority: bool,
}

impl LeafFacts {
    /// Reads the first certificate of a PEM text.
    pub fn from_pem(pem: &str) -> Result<Self, PkiError> {
        Self::from_der(&der_of(pem)?)
    }

    /// Reads a certificate.
    pub fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        let refused = |reason| PkiError::ReadCertificate { reason };
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| refused("it is not X.509"))?;
        if !rest.is_empty() {
            return Err(refused("something follows it"));
        }
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| refused("its names cannot be read"))?;
        let mut sans: Vec<String> = names
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(san)
            .map(|san| san.to_string())
            .collect();
        sans.sort_unstable();
        let validity = certificate.validity();
        Ok(Self {
            common_name: common_name(certificate.subject()),
            organizations: certificate
                .subject()
                .iter_organization()
                .filter_map(|name| name.as_str().ok())
                .map(str::to_owned)
                .collect(),
            issuer: common_name(certificate.issuer()),
            serial: hex::encode(certificate.raw_serial()),
            not_before_s: validity.not_before.timestamp(),
            not_after_s: validity.not_after.timestamp(),
            sans,
            pin: Pin::of_spki(certificate.public_key().raw),
            sha256: hex::encode(
                aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der).as_ref(),
            ),
            is_authority: certificate.is_ca(),
        })
    }

    /// When it is to be renewed: at two thirds of its life, in Unix seconds.
    pub const fn renew_at_s(&self) -> i64 {
        self.not_before_s + (self.not_after_s - self.not_before_s) / 3 * 2
    }
}

/// The DER of the first certificate of a PEM text.
pub(crate) fn der_of(pem: &str) -> Result<Vec<u8>, PkiError> {
    let refused = |reason| PkiError::ReadCertificate { reason };
    if pem.len() > PEM_BYTES_MAX {
        return Err(refused("its file is larger than 1 MiB"));
    }
    let (_, block) = parse_x509_pem(pem.as_bytes()).map_err(|_| refused("it is not PEM"))?;
    if block.label != "CERTIFICATE" {
        return Err(refused("its PEM block is not a CERTIFICATE"));
    }
    Ok(block.contents)
}

fn common_name(name: &X509Name<'_>) -> String {
    name.iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok())
        .unwrap_or_default()
        .to_owned()
}

fn san(name: &GeneralName<'_>) -> Option<San> {
    match name {
        GeneralName::DNSName(name) => Some(San::dns(name)),
        GeneralName::IPAddress(bytes) => {
            let address = match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).ok()?.into(),
                _ => <[u8; 16]>::try_from(*bytes).ok()?.into(),
            };
            Some(San::Ip(address))
        }
        _ => None,
    }
}
