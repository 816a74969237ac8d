//! Health checks by TLS, as an apiserver gets them.

use std::sync::Arc;

use crate::server::{Server, config, free_port, run, until, until_healthy};
use khactl_balancer::Scheme;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    let key = KeyPair::generate().expect("key");
    let mut params = CertificateParams::new(Vec::new()).expect("params");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).expect("certificate").pem();
    Authority {
        pem,
        issuer: Issuer::new(params, key),
    }
}

impl Authority {
    fn acceptor(&self) -> TlsAcceptor {
        let key = KeyPair::generate().expect("key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("params");
        let leaf = params.signed_by(&key, &self.issuer).expect("leaf");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .expect("configuration");
        TlsAcceptor::from(Arc::new(config))
    }
}

#[tokio::test]
async fn a_backend_with_a_certificate_of_the_authority_becomes_healthy() {
    let authority = authority();
    let server = Server::start("a", Some(authority.acceptor())).await;
    let mut settings = config(free_port().await, vec![server.config("a")]);
    settings.health.scheme = Scheme::Https {
        ca_pem: authority.pem.into(),
    };
    let (balancer, _owner) = run(settings);
    until_healthy(&balancer, 1).await;
}

#[tokio::test]
async fn a_backend_with_a_certificate_of_another_authority_stays_unhealthy() {
    let server = Server::start("a", Some(authority().acceptor())).await;
    let mut settings = config(free_port().await, vec![server.config("a")]);
    settings.health.scheme = Scheme::Https {
        ca_pem: authority().pem.into(),
    };
    let (balancer, _owner) = run(settings);
    until(&balancer, |status| {
        status.backends.len() == 1 && status.backends[0].reason.contains("TLS failed")
    })
    .await;
    assert!(!balancer.status().backends[0].healthy);
}

#[tokio::test]
async fn without_an_authority_no_certificate_is_judged() {
    let server = Server::start("a", Some(authority().acceptor())).await;
    let mut settings = config(free_port().await, vec![server.config("a")]);
    settings.health.scheme = Scheme::Https { ca_pem: Vec::new() };
    let (balancer, _owner) = run(settings);
    until_healthy(&balancer, 1).await;
}
