//! Health checks by TLS, as an apiserver gets them.

use crate::authority::Authority;
use crate::server::{Server, config, free_port, run, until, until_healthy};
use khactl_balancer::Scheme;

#[tokio::test]
async fn a_backend_with_a_certificate_of_the_authority_becomes_healthy() {
    let authority = Authority::new();
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
    let server = Server::start("a", Some(Authority::new().acceptor())).await;
    let mut settings = config(free_port().await, vec![server.config("a")]);
    settings.health.scheme = Scheme::Https {
        ca_pem: Authority::new().pem.into(),
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
    let server = Server::start("a", Some(Authority::new().acceptor())).await;
    let mut settings = config(free_port().await, vec![server.config("a")]);
    settings.health.scheme = Scheme::Https { ca_pem: Vec::new() };
    let (balancer, _owner) = run(settings);
    until_healthy(&balancer, 1).await;
}
