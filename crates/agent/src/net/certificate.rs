//! The host's own certificate, replaceable while connections are served.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::error::NetError;
use super::tls::{ALPN, clock, provider};

/// PEM texts of a TLS identity.
pub struct TlsFiles {
    /// The agents' authority (khactl-ca).
    pub ca_pem: String,
    /// The host's leaf; more of its chain may follow.
    pub cert_pem: String,
    /// The leaf's key.
    pub key_pem: Zeroizing<String>,
}

impl TlsFiles {
    fn authority(&self) -> Result<Vec<CertificateDer<'static>>, NetError> {
        certificates(&self.ca_pem, "authority")
    }

    /// The leaf and, for joiners that know only the authority's pin, the authority itself.
    fn certified_key(&self) -> Result<Arc<CertifiedKey>, NetError> {
        let mut chain = certificates(&self.cert_pem, "certificate")?;
        for authority in self.authority()? {
            if !chain.contains(&authority) {
                chain.push(authority);
            }
        }
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(|e| NetError::identity("key")(e.into()))?;
        let key = CertifiedKey::from_der(chain, key, &provider())
            .map_err(|e| NetError::identity("key of the certificate")(e.into()))?;
        Ok(Arc::new(key))
    }
}

fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, NetError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| NetError::identity(what)(e.into()))?;
    if found.is_empty() {
        return Err(NetError::identity(what)("it holds no certificate".into()));
    }
    Ok(found)
}

/// The certificate that this host shows to clients and servers from now on, until it is
/// replaced; open connections keep the one they began with.
#[derive(Debug)]
pub struct LiveCertificate {
    current: ArcSwap<CertifiedKey>,
    authority: Arc<RootCertStore>,
}

impl LiveCertificate {
    /// Takes the texts into service.
    ///
    /// # Errors
    /// A text that does not parse, or a key that is not the certificate's.
    pub fn new(files: &TlsFiles) -> Result<Arc<Self>, NetError> {
        let mut authority = RootCertStore::empty();
        for certificate in files.authority()? {
            authority
                .add(certificate)
                .map_err(|e| NetError::identity("authority")(e.into()))?;
        }
        Ok(Arc::new(Self {
            current: ArcSwap::new(files.certified_key()?),
            authority: Arc::new(authority),
        }))
    }

    /// Shows another leaf from the next handshake on. Whom this host trusts does not change.
    ///
    /// # Errors
    /// As for [`Self::new`]; then the old one stays.
    pub fn replace(&self, files: &TlsFiles) -> Result<(), NetError> {
        self.current.store(files.certified_key()?);
        Ok(())
    }

    pub(super) fn authority(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.authority)
    }

    /// A server that shows this certificate and judges a client's, if the client shows one.
    pub(super) fn server(self: &Arc<Self>) -> Result<Arc<ServerConfig>, NetError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(self.authority(), provider())
            .allow_unauthenticated()
            .build()
            .map_err(|e| NetError::identity("authority")(e.into()))?;
        let mut config = ServerConfig::builder_with_details(provider(), clock())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|e| NetError::identity("protocol version")(e.into()))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::<Self>::clone(self));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for LiveCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl ResolvesClientCert for LiveCertificate {
    fn resolve(
        &self,
        _authorities: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
