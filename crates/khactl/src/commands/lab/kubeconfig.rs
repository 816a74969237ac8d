//! A kubeconfig, as far as a client with a certificate needs it.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

use crate::failure::{Failure, chain};

#[derive(Deserialize)]
struct File {
    clusters: Vec<Named>,
    users: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    cluster: Option<ClusterEntry>,
    user: Option<UserEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ClusterEntry {
    server: String,
    certificate_authority_data: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct UserEntry {
    client_certificate_data: String,
    client_key_data: String,
}

/// Where the API is, and TLS for it.
pub(super) struct Access {
    /// `ADDRESS:PORT`
    pub(super) server: String,
    pub(super) config: Arc<ClientConfig>,
}

pub(super) fn read(path: &Path) -> Result<Access, Failure> {
    let unusable = |wrong: String| {
        Failure::new(
            "KHA0926",
            format!("read {}", path.display()),
            wrong,
            "write it anew: khactl kubeconfig",
        )
    };
    let text = std::fs::read_to_string(path).map_err(|error| unusable(chain(&error)))?;
    parse(&text).map_err(unusable)
}

fn parse(text: &str) -> Result<Access, String> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| chain(&error))?;
    let cluster = file.clusters.into_iter().find_map(|entry| entry.cluster);
    let user = file.users.into_iter().find_map(|entry| entry.user);
    let (Some(cluster), Some(user)) = (cluster, user) else {
        return Err("it has no cluster or no user".into());
    };
    let server = cluster
        .server
        .strip_prefix("https://")
        .ok_or("its server is no https:// address")?
        .trim_end_matches('/')
        .to_owned();
    let mut roots = RootCertStore::empty();
    for authority in certificates(&cluster.certificate_authority_data)? {
        roots.add(authority).map_err(|error| chain(&error))?;
    }
    let key = PrivateKeyDer::from_pem_slice(&decode(&user.client_key_data)?)
        .map_err(|error| chain(&error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| chain(&error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&user.client_certificate_data)?, key)
        .map_err(|error| chain(&error))?;
    Ok(Access {
        server,
        config: Arc::new(config),
    })
}

fn decode(data: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(data.trim()).map_err(|error| chain(&error))
}

fn certificates(data: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(&decode(data)?)
        .collect::<Result<_, _>>()
        .map_err(|error| chain(&error))
}
