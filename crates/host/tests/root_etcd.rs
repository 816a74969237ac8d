//! The etcd client against three real members with mutual TLS. The program comes from the test
//! set (`make kube`): `$KHACTL_BUNDLE`, or where that is built, below `$KHACTL_CACHE` or `~/.cache/khactl`.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use khactl_host::HostError;
use khactl_host::bundle::{Bundle, DigestCache};
use khactl_host::etcd::{EtcdClient, EtcdFailure};
use khactl_host::probe::Probe;
use khactl_host::tls::{Alpn, TlsMaterial};
use khactl_sys::clock;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair,
};

const CALL: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_mins(2);

fn bundle_folder() -> PathBuf {
    if let Some(bundle) = std::env::var_os("KHACTL_BUNDLE") {
        return PathBuf::from(bundle);
    }
    let cache = std::env::var_os("KHACTL_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/khactl"),
        PathBuf::from,
    );
    cache.join("kube/bundles/v1.20.2")
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = name("etcd authority");
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// Certificate and key, for 127.0.0.1 and both directions.
    fn leaf(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name = name("member");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        (
            params.signed_by(&key, &self.issuer).unwrap().pem(),
            key.serialize_pem(),
        )
    }
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

struct Member {
    name: String,
    client: u16,
    peer: u16,
    metrics: u16,
    child: Option<Child>,
}

impl Member {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            client: free_port(),
            peer: free_port(),
            metrics: free_port(),
            child: None,
        }
    }

    fn peer_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.peer)
    }

    fn client_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.client)
    }

    fn start(&mut self, program: &Path, folder: &Path, initial: &str, state: &str) {
        let log = fs::File::create(folder.join(format!("{}.log", self.name))).unwrap();
        let pki = |file: &str| folder.join(file).display().to_string();
        let child = Command::new(program)
            .args([
                "--name",
                &self.name,
                "--initial-cluster",
                initial,
                "--initial-cluster-state",
                state,
            ])
            .arg("--data-dir")
            .arg(folder.join(&self.name))
            .args([
                "--listen-peer-urls",
                &self.peer_url(),
                "--initial-advertise-peer-urls",
                &self.peer_url(),
            ])
            .args([
                "--listen-client-urls",
                &self.client_url(),
                "--advertise-client-urls",
                &self.client_url(),
            ])
            .args([
                "--listen-metrics-urls",
                &format!("http://127.0.0.1:{}", self.metrics),
            ])
            .args(["--client-cert-auth", "--trusted-ca-file", &pki("ca.pem")])
            .args([
                "--cert-file",
                &pki("leaf.pem"),
                "--key-file",
                &pki("leaf.key"),
            ])
            .args([
                "--peer-client-cert-auth",
                "--peer-trusted-ca-file",
                &pki("ca.pem"),
            ])
            .args([
                "--peer-cert-file",
                &pki("leaf.pem"),
                "--peer-key-file",
                &pki("leaf.key"),
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Repeats a call while its failure says that it may succeed later; gives what it was refused with
/// on the way.
async fn retry<T>(call: impl AsyncFn() -> Result<T, HostError>) -> (T, Vec<EtcdFailure>) {
    let deadline = clock::monotonic() + PATIENCE;
    let mut refused = Vec::new();
    loop {
        match call().await {
            Ok(value) => return (value, refused),
            Err(HostError::Etcd { failure, .. })
                if failure.is_retryable() && clock::monotonic() < deadline =>
            {
                refused.push(failure);
            }
            Err(error) => panic!(
                "{error}: {:?}; before: {refused:?}",
                std::error::Error::source(&error)
            ),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn client(members: &[&Member], tls: &Arc<rustls::ClientConfig>) -> EtcdClient {
    let endpoints: Vec<String> = members.iter().map(|member| member.client_url()).collect();
    EtcdClient::new(&endpoints, tls, CALL).unwrap()
}

#[tokio::test]
async fn members_join_as_learners_are_promoted_and_removed() {
    let bundle = Bundle::open(bundle_folder(), &DigestCache::default())
        .await
        .expect("the test set: run `make kube`");
    let program = bundle.verify("etcd").await.unwrap().path;
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (certificate, key) = authority.leaf();
    for (file, text) in [
        ("ca.pem", &authority.pem),
        ("leaf.pem", &certificate),
        ("leaf.key", &key),
    ] {
        fs::write(folder.path().join(file), text).unwrap();
    }
    let material = TlsMaterial {
        ca_pem: authority.pem.clone().into_bytes(),
        identity: Some((certificate.into_bytes(), key.into_bytes())),
    };
    let tls = material.client_config("etcd", Alpn::H2).unwrap();

    let mut a = Member::new("a");
    let mut initial = format!("a={}", a.peer_url());
    a.start(&program, folder.path(), &initial, "new");
    let (revision, _) = retry(async || client(&[&a], &tls).linearizable_read().await).await;
    assert!(revision >= 1);
    let health = Probe::http(
        format!("127.0.0.1:{}", a.metrics).parse().unwrap(),
        "/health",
    );
    assert!(health.run(CALL).await.is_ready());

    let mut members = vec![a];
    for joining in ["b", "c"] {
        let mut member = Member::new(joining);
        let known: Vec<&Member> = members.iter().collect();
        let leader = client(&known, &tls);
        let url = member.peer_url();
        // A new voter has to be connected for 5 s before the next change is allowed.
        let (added, _) =
            retry(async || leader.member_add(std::slice::from_ref(&url), true).await).await;
        assert!(added.learner && added.name.is_empty());
        let again = leader
            .member_add(std::slice::from_ref(&url), true)
            .await
            .unwrap_err();
        assert!(
            matches!(
                again,
                HostError::Etcd {
                    failure: EtcdFailure::PeerUrlExists | EtcdFailure::TooManyLearners,
                    ..
                }
            ),
            "{again}"
        );
        let early = leader.member_promote(added.id).await.unwrap_err();
        assert!(early.is_retryable(), "not started yet: {early}");
        initial = format!("{initial},{joining}={url}");
        member.start(&program, folder.path(), &initial, "existing");
        retry(async || leader.member_promote(added.id).await).await;
        // The answer to a second promotion may say for a moment that the first is still to come.
        let (twice, _) = retry(async || match leader.member_promote(added.id).await {
            Err(error) if error.is_retryable() => Err(error),
            outcome => Ok(outcome),
        })
        .await;
        assert!(
            matches!(
                twice,
                Err(HostError::Etcd {
                    failure: EtcdFailure::NotALearner,
                    ..
                })
            ),
            "{twice:?}"
        );
        members.push(member);
    }
    let all: Vec<&Member> = members.iter().collect();
    let anyone = client(&all, &tls);
    let listed = anyone.member_list(true).await.unwrap();
    assert_eq!(listed.len(), 3);
    assert!(
        listed
            .iter()
            .all(|member| !member.learner && member.client_urls.len() == 1),
        "{listed:?}"
    );
    for member in &all {
        let (status, _) = retry(async || client(&[member], &tls).status().await).await;
        assert_eq!(status.version, bundle.manifest().etcd);
        assert!(
            listed
                .iter()
                .any(|listed| listed.id == status.member_id && listed.name == member.name)
        );
        assert!(
            status.leader != 0 && !status.learner && status.errors.is_empty(),
            "{status:?}"
        );
    }

    // The first one dies for good: the others answer in its place, and it is removed.
    let gone = listed.iter().find(|listed| listed.name == "a").unwrap().id;
    drop(members.remove(0));
    retry(async || anyone.linearizable_read().await).await;
    retry(async || anyone.member_remove(gone).await).await;
    let unknown = anyone.member_remove(gone).await.unwrap_err();
    assert!(
        matches!(
            unknown,
            HostError::Etcd {
                failure: EtcdFailure::MemberNotFound,
                ..
            }
        ),
        "{unknown}"
    );
    assert_eq!(anyone.member_list(true).await.unwrap().len(), 2);

    // Without the members' authority, or without a certificate of it, nobody gets in.
    let stranger = Authority::new();
    let outsider = TlsMaterial {
        ca_pem: authority.pem.into_bytes(),
        identity: None,
    };
    let deceived = TlsMaterial {
        ca_pem: stranger.pem.clone().into_bytes(),
        identity: None,
    };
    for material in [outsider, deceived] {
        let tls = material.client_config("etcd", Alpn::H2).unwrap();
        let error = client(&[&members[0]], &tls)
            .member_list(false)
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                HostError::Etcd {
                    failure: EtcdFailure::Unreachable,
                    ..
                }
            ),
            "{error}"
        );
    }
}
