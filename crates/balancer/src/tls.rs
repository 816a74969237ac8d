//! TLS for health checks alone: the connections of clients pass through untouched.

use std::io;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::error::BalancerError;

/// A client that trusts the given authorities; with none it judges no certificate. That is sound for a health check of a
/// pass-through balancer: a false backend could at most be offered connections whose TLS it cannot complete.
pub(crate) fn client_config(ca_pem: &[u8]) -> Result<Arc<ClientConfig>, BalancerError> {
    let unusable = |cause: rustls::Error| BalancerError::Authorities {
        cause: io::Error::other(cause),
    };
    let config = if ca_pem.is_empty() {
        khactl_tls::unjudged().map_err(unusable)?
    } else {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(roots(ca_pem)?)
            .with_no_client_auth()
    };
    Ok(Arc::new(config))
}

fn roots(ca_pem: &[u8]) -> Result<RootCertStore, BalancerError> {
    let unusable = |cause: io::Error| BalancerError::Authorities { cause };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem) {
        let certificate = certificate
            .map_err(|cause| unusable(io::Error::new(io::ErrorKind::InvalidData, cause)))?;
        roots
            .add(certificate)
            .map_err(|cause| unusable(io::Error::new(io::ErrorKind::InvalidData, cause)))?;
    }
    if roots.is_empty() {
        return Err(unusable(io::Error::new(
            io::ErrorKind::InvalidData,
            "no certificate in it",
        )));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_that_hold_no_certificate_are_refused() {
        assert!(matches!(
            client_config(b"not a certificate"),
            Err(BalancerError::Authorities { .. })
        ));
    }

    #[test]
    fn no_authorities_mean_that_certificates_are_not_judged() {
        assert!(client_config(b"").is_ok());
    }
}
