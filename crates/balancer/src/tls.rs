//! TLS for health checks alone: the connections of clients pass through untouched.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::BalancerError;

/// A client that trusts the given authorities; with none it judges no certificate.
pub(crate) fn client_config(ca_pem: &[u8]) -> Result<Arc<ClientConfig>, BalancerError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|cause| BalancerError::Authorities {
            cause: io::Error::other(cause),
        })?;
    let config = if ca_pem.is_empty() {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unjudged(provider)))
            .with_no_client_auth()
    } else {
        builder
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

/// Takes any certificate. Sound for a health check of a pass-through balancer: a false backend
/// could at most be offered connections whose TLS it cannot complete.
#[derive(Debug)]
struct Unjudged(Arc<CryptoProvider>);

impl ServerCertVerifier for Unjudged {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
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
