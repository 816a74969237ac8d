//! Client-side TLS from PEM files: whom to trust and who one is.
//!
//! Keys are not printed, not even in debug output.

use std::fmt;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::HostError;

/// Protocols offered in the handshake, in the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alpn(&'static [&'static [u8]]);

impl Alpn {
    /// HTTP/2 alone, which gRPC needs.
    pub const H2: Self = Self(&[b"h2"]);
    /// HTTP/1.1 alone, which probes use.
    pub const HTTP_1: Self = Self(&[b"http/1.1"]);

    fn protocols(self) -> Vec<Vec<u8>> {
        self.0.iter().map(|name| name.to_vec()).collect()
    }
}

/// PEM texts of a client.
#[derive(Clone, Default)]
pub struct TlsMaterial {
    /// Authorities that the server's chain must lead to.
    pub ca_pem: Vec<u8>,
    /// Certificate chain and private key that the client shows, if it shows one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsMaterial")
            .field("identity", &self.identity.is_some())
            .finish_non_exhaustive()
    }
}

impl TlsMaterial {
    /// Makes the client side of a connection. `purpose` stands in the error.
    pub fn client_config(
        &self,
        purpose: &'static str,
        alpn: Alpn,
    ) -> Result<Arc<ClientConfig>, HostError> {
        let fail = |reason: String| HostError::Tls { purpose, reason };
        let mut roots = RootCertStore::empty();
        for certificate in
            certificates(&self.ca_pem).map_err(|e| fail(format!("authority: {e}")))?
        {
            roots
                .add(certificate)
                .map_err(|e| fail(format!("authority: {e}")))?;
        }
        if roots.is_empty() {
            return Err(fail("it holds no authority's certificate".to_owned()));
        }
        let builder = builder()
            .map_err(|e| fail(e.to_string()))?
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = certificates(chain).map_err(|e| fail(format!("certificate: {e}")))?;
                let key =
                    PrivateKeyDer::from_pem_slice(key).map_err(|e| fail(format!("key: {e}")))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| fail(e.to_string()))?
            }
        };
        config.alpn_protocols = alpn.protocols();
        Ok(Arc::new(config))
    }
}

/// A configuration that takes any server certificate: kube-controller-manager and kube-scheduler
/// make one for themselves at every start, and the authority of foreign API servers is not known here.
/// Reachable through [`crate::probe::Probe::https_loopback`], where no one but this host can answer, and
/// through [`crate::probe::Probe::https_unjudged`], whose callers believe nothing.
pub(crate) fn unverified() -> Result<Arc<ClientConfig>, HostError> {
    let mut config = khactl_tls::unjudged().map_err(|error| HostError::Tls {
        purpose: "a loopback probe",
        reason: error.to_string(),
    })?;
    config.alpn_protocols = Alpn::HTTP_1.protocols();
    Ok(Arc::new(config))
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, rustls::Error> {
    // Named rather than taken from the process: a library must not depend on who set it first.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls_pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn material_without_an_authority_is_refused() {
        let error = TlsMaterial::default()
            .client_config("etcd", Alpn::H2)
            .unwrap_err();
        assert!(error.to_string().contains("no authority"), "{error}");
        let broken = TlsMaterial {
            ca_pem: b"-----BEGIN CERTIFICATE-----\n!\n".to_vec(),
            identity: None,
        };
        assert!(broken.client_config("etcd", Alpn::H2).is_err());
    }

    #[test]
    fn debug_output_holds_no_key() {
        let material = TlsMaterial {
            ca_pem: b"ca".to_vec(),
            identity: Some((b"cert".to_vec(), b"secret".to_vec())),
        };
        let secret = format!("{:?}", b"secret".to_vec());
        assert!(!format!("{material:?}").contains(&secret));
    }
}
