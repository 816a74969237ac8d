//! The joiner's way in: it knows the authority's pin and nothing else.
//!
//! Nothing is sent before the server has shown the pinned authority and a leaf that it signed,
//! and has proved that it owns the leaf's key. The server's name is not judged.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use hyper_util::rt::TokioIo;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use rustls_pki_types::{CertificateDer, UnixTime};
use tonic::transport::Channel;
use tower::service_fn;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::dial::{DialError, Mismatch, dial};
use super::peers::endpoint;
use super::tls::{Judge, Presented, client, key_pin, provider};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to `endpoint` ("HOST:9443") and checks the pin: the SHA-256 of the authority's
/// public key. When the channel has to reconnect, the pin is checked again.
///
/// # Errors
/// One variant each for: no endpoint, no such name, refused, no answer in 5 s, unreachable,
/// no TLS, wrong pin, not valid at this time. Of several addresses of a name the last one's.
pub async fn connect_pinned(endpoint: &str, pin: [u8; 32]) -> Result<Channel, DialError> {
    let mut failed = None;
    for address in addresses(endpoint).await? {
        match connect(address, pin).await {
            Ok(channel) => return Ok(channel),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| DialError::Resolve {
        endpoint: endpoint.into(),
        source: None,
    }))
}

async fn addresses(endpoint: &str) -> Result<Vec<SocketAddr>, DialError> {
    let bad = || DialError::Endpoint {
        endpoint: endpoint.into(),
    };
    let (host, port) = endpoint.rsplit_once(':').ok_or_else(bad)?;
    port.parse::<u16>().map_err(|_| bad())?;
    // An IPv6 address without brackets ends in something that looks like a port.
    if host.is_empty() || (host.contains(':') && !host.starts_with('[')) {
        return Err(bad());
    }
    let found = tokio::net::lookup_host(endpoint)
        .await
        .map_err(|source| DialError::Resolve {
            endpoint: endpoint.into(),
            source: Some(source),
        })?;
    Ok(found.collect())
}

async fn connect(address: SocketAddr, pin: [u8; 32]) -> Result<Channel, DialError> {
    let config = client(PinJudge { pin }, None).map_err(|source| DialError::Handshake {
        address,
        source: std::io::Error::other(source),
    })?;
    let first = dial(address, Arc::clone(&config), CONNECT_TIMEOUT).await?;
    // The channel's first connection is the one that was just judged.
    let first = Arc::new(Mutex::new(Some(first)));
    let connector = service_fn(move |_| {
        let ready = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let config = Arc::clone(&config);
        async move {
            match ready {
                Some(stream) => Ok(TokioIo::new(stream)),
                None => dial(address, config, CONNECT_TIMEOUT)
                    .await
                    .map(TokioIo::new),
            }
        }
    });
    Ok(endpoint(address).connect_with_connector_lazy(connector))
}

#[derive(Debug)]
struct PinJudge {
    pin: [u8; 32],
}

impl PinJudge {
    fn pinned<'a>(&self, rest: &'a [CertificateDer<'a>]) -> Option<&'a CertificateDer<'a>> {
        rest.iter().find(|der| {
            key_pin(der).is_some_and(|pin| verify_slices_are_equal(&pin, &self.pin).is_ok())
        })
    }
}

impl Judge for PinJudge {
    fn judge(&self, presented: &Presented<'_>) -> Result<(), Error> {
        let authority = self.pinned(presented.rest).ok_or(Mismatch::Pin)?;
        check_authority(authority, presented.now)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone()).map_err(|_| Mismatch::Pin)?;
        let leaf = ParsedCertificate::try_from(presented.leaf)?;
        let judged = verify_server_cert_signed_by_trust_anchor(
            &leaf,
            &roots,
            presented.rest,
            presented.now,
            provider().signature_verification_algorithms.all,
        );
        match judged {
            // Somebody shows the authority's certificate, which is no secret, with a leaf
            // that it never signed.
            Err(Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => Err(Mismatch::Pin.into()),
            other => other,
        }
    }
}

/// What the chain's verification takes for granted in an anchor: that it is an authority, and
/// its dates.
fn check_authority(der: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, authority) = X509Certificate::from_der(der).map_err(|_| Mismatch::Pin)?;
    if !authority.is_ca() {
        return Err(Mismatch::Pin.into());
    }
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = authority.validity();
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}
