//! The PEM file with which somebody is an admin from another machine.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::failure::{Failure, chain};

const DOING: &str = "read the identity file";

/// TLS with the file's certificate and key, trusting its last certificate: the authority.
pub(crate) fn client_config(path: &Path) -> Result<Arc<ClientConfig>, Failure> {
    let unusable = |wrong: String| {
        Failure::new(
            "KHA0904",
            format!("{DOING} {}", path.display()),
            wrong,
            "it must hold a certificate, its key and the agents' authority, all as PEM",
        )
    };
    let text = std::fs::read(path).map_err(|error| unusable(chain(&error)))?;
    let mut chain_of: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(chain(&error)))?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| unusable(chain(&error)))?;
    let authority = match chain_of.pop() {
        Some(authority) if !chain_of.is_empty() => authority,
        _ => {
            return Err(unusable(
                "it has no authority beside the certificate".into(),
            ));
        }
    };
    let mut roots = RootCertStore::empty();
    roots
        .add(authority)
        .map_err(|error| unusable(chain(&error)))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| unusable(chain(&error)))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain_of, key)
        .map_err(|error| unusable(chain(&error)))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}
