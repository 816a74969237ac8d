//! An authority: a certificate that signs others, and its key, which lies sealed in the replicated state.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use zeroize::{Zeroize, Zeroizing};

use crate::leaf_facts::der_of;
use crate::sealing::NONCE_BYTES;
use crate::{CheckedRequest, LeafFacts, LeafProfile, Pin, PkiError, San, SealingKey};

/// How long an authority lives: 10 years.
pub const AUTHORITY_LIFE: Duration = Duration::from_hours(10 * 365 * 24);
/// How long a leaf lives: 1 year, and never past its authority.
pub const LEAF_LIFE: Duration = Duration::from_hours(365 * 24);
/// How far `notBefore` lies in the past, for hosts whose clocks are behind the signer's.
const BACKDATE: Duration = Duration::from_mins(5);

/// Which of the cluster's authorities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuthorityName {
    /// Agents and their administrators.
    Agents,
    /// Kubernetes' own.
    Kubernetes,
    /// The API server as a proxy for extension API servers.
    FrontProxy,
    /// etcd's servers, peers and clients.
    Etcd,
}

impl AuthorityName {
    /// Every authority.
    pub const ALL: [Self; 4] = [Self::Agents, Self::Kubernetes, Self::FrontProxy, Self::Etcd];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agents => "khactl-ca",
            Self::Kubernetes => "kubernetes",
            Self::FrontProxy => "front-proxy",
            Self::Etcd => "etcd",
        }
    }
}

impl fmt::Display for AuthorityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AuthorityName {
    type Err = PkiError;

    fn from_str(name: &str) -> Result<Self, PkiError> {
        Self::ALL
            .into_iter()
            .find(|authority| authority.as_str() == name)
            .ok_or_else(|| PkiError::UnknownAuthority {
                name: name.to_owned(),
            })
    }
}

/// A serial number: 16 random bytes given by the caller. Two bits are fixed, so that the number is positive and
/// as long as it should be.
#[derive(Debug, Clone, Copy)]
pub struct Serial([u8; 16]);

impl Serial {
    /// A serial number from fresh random bytes.
    pub const fn new(mut random: [u8; 16]) -> Self {
        random[0] = (random[0] & 0x7f) | 0x40;
        Self(random)
    }

    fn number(self) -> SerialNumber {
        SerialNumber::from_slice(&self.0)
    }
}

/// An authority with its key.
pub struct Authority {
    name: AuthorityName,
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    not_after_s: i64,
    key: KeyPair,
}

impl Authority {
    /// A new authority of a cluster, valid from five minutes before `now_s` (Unix seconds).
    pub fn generate(
        name: AuthorityName,
        cluster: &str,
        now_s: i64,
        serial: Serial,
    ) -> Result<Self, PkiError> {
        let refused = |source: rcgen::Error| PkiError::MakeCertificate {
            what: name.to_string(),
            source: source.into(),
        };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|source| {
            PkiError::GenerateKey {
                what: name.to_string(),
                source: source.into(),
            }
        })?;
        let mut params = CertificateParams::default();
        params.not_before = instant(now_s - seconds(BACKDATE), name.as_str())?;
        params.not_after = instant(now_s + seconds(AUTHORITY_LIFE), name.as_str())?;
        params.serial_number = Some(serial.number());
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, cluster);
        params
            .distinguished_name
            .push(DnType::CommonName, name.as_str());
        // It signs leaves only: an authority below it would be a mistake or a theft.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        let certificate = params.self_signed(&key).map_err(refused)?;
        Ok(Self {
            name,
            certificate_pem: certificate.pem(),
            certificate: certificate.der().clone(),
            not_after_s: params.not_after.unix_timestamp(),
            key,
        })
    }

    /// An authority from its two PEM texts; refused if they do not belong together.
    pub fn load(
        name: AuthorityName,
        certificate_pem: &str,
        key_pem: &str,
    ) -> Result<Self, PkiError> {
        let authority = name.as_str();
        let facts =
            LeafFacts::from_pem(certificate_pem).map_err(|source| PkiError::LoadAuthority {
                authority,
                source: source.into(),
            })?;
        let key = KeyPair::from_pem_and_sign_algo(key_pem, &PKCS_ECDSA_P256_SHA256).map_err(
            |source| PkiError::LoadAuthority {
                authority,
                source: source.into(),
            },
        )?;
        if !facts.is_authority || facts.pin != Pin::of_spki(&key.subject_public_key_info()) {
            return Err(PkiError::AuthorityKeyMismatch { authority });
        }
        Ok(Self {
            name,
            certificate_pem: certificate_pem.to_owned(),
            certificate: der_of(certificate_pem)?.into(),
            not_after_s: facts.not_after_s,
            key,
        })
    }

    /// An authority from the replicated state.
    pub fn unseal(
        name: AuthorityName,
        certificate_pem: &str,
        sealing_key: &SealingKey,
        cluster_id: &str,
        sealed_key: &[u8],
    ) -> Result<Self, PkiError> {
        let key = sealing_key.unseal(cluster_id, name.as_str(), sealed_key)?;
        let key = std::str::from_utf8(&key).map_err(|source| PkiError::LoadAuthority {
            authority: name.as_str(),
            source: source.into(),
        })?;
        Self::load(name, certificate_pem, key)
    }

    /// The key as the replicated state holds it. The nonce is fresh random bytes.
    pub fn seal(
        &self,
        sealing_key: &SealingKey,
        cluster_id: &str,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<Vec<u8>, PkiError> {
        sealing_key.seal(
            cluster_id,
            self.name.as_str(),
            nonce,
            self.key_pem().as_bytes(),
        )
    }

    /// Which authority this is.
    pub const fn name(&self) -> AuthorityName {
        self.name
    }

    /// The certificate as PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The key as PKCS#8 PEM. kube-controller-manager wants that of `kubernetes` in a file of its own (0600).
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.key.serialize_pem())
    }

    /// The pin of the authority's key, as tokens carry it.
    pub fn pin(&self) -> Pin {
        Pin::of_spki(&self.key.subject_public_key_info())
    }

    /// Signs a leaf: the key is the request's, everything else the profile's. Valid from five minutes before
    /// `now_s` (Unix seconds) for a year, or until the authority ends. The certificate as PEM.
    pub fn sign(
        &self,
        request: &CheckedRequest,
        profile: &LeafProfile,
        now_s: i64,
        serial: Serial,
    ) -> Result<String, PkiError> {
        let what = profile.common_name.as_str();
        let refused = |source: rcgen::Error| PkiError::MakeCertificate {
            what: what.to_owned(),
            source: source.into(),
        };
        if profile.issuer != self.name {
            return Err(PkiError::WrongAuthority {
                what: what.to_owned(),
                authority: self.name.as_str(),
                belongs_to: profile.issuer.as_str(),
            });
        }
        let mut params = CertificateParams::default();
        params.not_before = instant(now_s - seconds(BACKDATE), what)?;
        params.not_after = instant((now_s + seconds(LEAF_LIFE)).min(self.not_after_s), what)?;
        params.serial_number = Some(serial.number());
        params.distinguished_name = DistinguishedName::new();
        if let Some(organization) = profile.organization {
            params
                .distinguished_name
                .push(DnType::OrganizationName, organization);
        }
        params.distinguished_name.push(DnType::CommonName, what);
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if profile.server {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if profile.client {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        for san in &profile.sans {
            params.subject_alt_names.push(match san {
                San::Ip(address) => SanType::IpAddress(*address),
                San::Dns(name) => {
                    SanType::DnsName(name.as_str().try_into().map_err(|_| PkiError::BadName {
                        what: what.to_owned(),
                        name: name.clone(),
                    })?)
                }
            });
        }
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &self.key).map_err(refused)?;
        let certificate = params
            .signed_by(&request.public_key, &issuer)
            .map_err(refused)?;
        Ok(certificate.pem())
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({}, {})", self.name, self.pin())
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn instant(unix_s: i64, what: &str) -> Result<OffsetDateTime, PkiError> {
    OffsetDateTime::from_unix_timestamp(unix_s).map_err(|source| PkiError::MakeCertificate {
        what: what.to_owned(),
        source: source.into(),
    })
}
