//! What the certificates are to somebody else's eyes: the `openssl` program.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use khactl_pki::{
    Authority, AuthorityName, CheckedRequest, LeafFacts, LeafKey, LeafKind, Pin, PinRefusal,
    PkiError, SealingKey, Serial, ServiceAccountKeys, Subject, profile,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tempfile::TempDir;

const YEAR_S: i64 = 365 * 24 * 3600;

#[expect(
    clippy::disallowed_methods,
    reason = "openssl judges by the machine's clock, so must the test"
)]
fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

struct Bench {
    folder: TempDir,
    authorities: Vec<Authority>,
}

impl Bench {
    fn new() -> Self {
        let authorities = AuthorityName::ALL
            .into_iter()
            .zip(1..)
            .map(|(name, n)| {
                Authority::generate(name, "prod", now_s(), Serial::new([n; 16])).unwrap()
            })
            .collect();
        Self {
            folder: TempDir::new().unwrap(),
            authorities,
        }
    }

    fn authority(&self, name: AuthorityName) -> &Authority {
        self.authorities
            .iter()
            .find(|authority| authority.name() == name)
            .unwrap()
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn leaf(&self, kind: LeafKind) -> (LeafKey, String) {
        let key = LeafKey::generate(kind.name()).unwrap();
        let request = CheckedRequest::from_pem(&key.request("anything").unwrap()).unwrap();
        (key, self.sign(kind, &request))
    }

    fn sign(&self, kind: LeafKind, request: &CheckedRequest) -> String {
        let profile = with_subject(|subject| profile(kind, subject));
        self.authority(profile.issuer)
            .sign(request, &profile, now_s(), Serial::new([0xff; 16]))
            .unwrap()
    }
}

fn with_subject<T>(take: impl FnOnce(&Subject<'_>) -> T) -> T {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    take(&Subject {
        host_name: "cp-1",
        host_addresses: &[address("10.77.0.11"), address("fd77::11")],
        vip_addresses: &[address("10.77.0.100")],
        service_address: address("10.96.0.1"),
        cluster_domain: "cluster.local",
        extra_sans: &[
            "api.example.org".to_owned(),
            "192.0.2.7".to_owned(),
            "cp-1".to_owned(),
        ],
    })
}

fn openssl(arguments: &[&str]) -> Output {
    Command::new("openssl")
        .args(arguments)
        .output()
        .expect("openssl is installed")
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn chain(pems: &[&str]) -> Vec<CertificateDer<'static>> {
    pems.iter()
        .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .collect()
}

#[test]
fn openssl_accepts_every_leaf_for_its_purpose_and_for_no_other() {
    let bench = Bench::new();
    for kind in LeafKind::ALL {
        let (_, certificate) = bench.leaf(kind);
        let leaf = bench.file("leaf.pem", &certificate);
        let profile = with_subject(|subject| profile(kind, subject));
        for (purpose, entitled) in [("sslserver", profile.server), ("sslclient", profile.client)] {
            for name in AuthorityName::ALL {
                let authority = bench.file("ca.pem", bench.authority(name).certificate_pem());
                let output = openssl(&[
                    "verify",
                    "-x509_strict",
                    "-purpose",
                    purpose,
                    "-CAfile",
                    text(&authority),
                    text(&leaf),
                ]);
                let expected = entitled && name == profile.issuer;
                assert_eq!(
                    output.status.success(),
                    expected,
                    "{kind} by {name} as {purpose}: {}",
                    said(&output)
                );
            }
        }
    }
}

#[test]
fn subjects_and_names_are_those_that_the_host_is_entitled_to() {
    let bench = Bench::new();
    let mut shown = String::new();
    for kind in LeafKind::ALL {
        let leaf = bench.file("leaf.pem", &bench.leaf(kind).1);
        let output = openssl(&[
            "x509",
            "-in",
            text(&leaf),
            "-noout",
            "-subject",
            "-issuer",
            "-ext",
            "subjectAltName,extendedKeyUsage,keyUsage,basicConstraints",
        ]);
        assert!(output.status.success(), "{}", said(&output));
        shown += &[
            "== ",
            kind.name(),
            "\n",
            &String::from_utf8_lossy(&output.stdout),
        ]
        .concat();
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn an_authority_signs_leaves_and_no_authorities() {
    let bench = Bench::new();
    let authority = bench.file(
        "ca.pem",
        bench.authority(AuthorityName::Etcd).certificate_pem(),
    );
    let output = openssl(&[
        "x509",
        "-in",
        text(&authority),
        "-noout",
        "-ext",
        "basicConstraints,keyUsage",
    ]);
    let shown = said(&output);
    assert!(
        shown.contains("CA:TRUE, pathlen:0") && shown.contains("Certificate Sign"),
        "{shown}"
    );
}

#[test]
fn lives_are_ten_years_and_one_and_begin_five_minutes_ago() {
    let bench = Bench::new();
    let now = now_s();
    let authority = bench.authority(AuthorityName::Etcd);
    let facts = LeafFacts::from_pem(authority.certificate_pem()).unwrap();
    assert!((facts.not_after_s - now - 10 * YEAR_S).abs() < 60);
    let key = LeafKey::generate("k").unwrap();
    let request = CheckedRequest::from_pem(&key.request("k").unwrap()).unwrap();
    let profile = with_subject(|subject| profile(LeafKind::EtcdPeer, subject));
    let sign = |at| {
        authority
            .sign(&request, &profile, at, Serial::new([1; 16]))
            .unwrap()
    };
    let leaf = LeafFacts::from_pem(&sign(now)).unwrap();
    assert_eq!(
        (leaf.not_before_s, leaf.not_after_s),
        (now - 300, now + YEAR_S)
    );
    assert!((leaf.renew_at_s() - now - YEAR_S * 2 / 3).abs() < 300);
    let last = LeafFacts::from_pem(&sign(facts.not_after_s - 100)).unwrap();
    assert_eq!(
        last.not_after_s, facts.not_after_s,
        "no leaf outlives its authority"
    );
}

#[test]
fn a_leaf_read_back_says_what_was_signed() {
    let bench = Bench::new();
    let (key, certificate) = bench.leaf(LeafKind::Apiserver);
    let facts = LeafFacts::from_pem(&certificate).unwrap();
    assert_eq!(facts.pin, key.pin());
    assert_eq!(facts.common_name, "kube-apiserver");
    assert_eq!(facts.issuer, "kubernetes");
    assert_eq!(
        facts.sans,
        with_subject(|subject| profile(LeafKind::Apiserver, subject)).san_texts()
    );
    assert!(!facts.is_authority);
    assert_eq!(facts.serial.len(), 32);
    let (_, other) = bench.leaf(LeafKind::Apiserver);
    assert_ne!(LeafFacts::from_pem(&other).unwrap().sha256, facts.sha256);
}

#[test]
fn a_request_with_foreign_names_gets_none_of_them() {
    let bench = Bench::new();
    let key = bench.folder.path().join("key.pem");
    let request = bench.folder.path().join("request.pem");
    let output = openssl(&[
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        text(&key),
        "-out",
        text(&request),
        "-subj",
        "/O=system:masters/CN=evil",
        "-addext",
        "subjectAltName=DNS:evil.example,IP:10.77.0.100",
        "-addext",
        "basicConstraints=CA:TRUE",
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let request = CheckedRequest::from_pem(&std::fs::read_to_string(&request).unwrap()).unwrap();
    let leaf = LeafFacts::from_pem(&bench.sign(LeafKind::EtcdServer, &request)).unwrap();
    assert_eq!(leaf.pin, request.pin());
    assert_eq!(leaf.common_name, "cp-1");
    assert!(leaf.organizations.is_empty());
    assert!(!leaf.is_authority);
    assert_eq!(
        leaf.sans,
        [
            "10.77.0.11",
            "127.0.0.1",
            "::1",
            "cp-1",
            "fd77::11",
            "localhost"
        ]
    );
}

#[test]
fn requests_of_other_keys_or_with_a_broken_signature_are_refused() {
    let bench = Bench::new();
    for (kind, option) in [
        ("rsa", "rsa_keygen_bits:2048"),
        ("ec", "ec_paramgen_curve:P-384"),
    ] {
        let request = bench.folder.path().join("request.pem");
        let output = openssl(&[
            "req",
            "-new",
            "-newkey",
            kind,
            "-pkeyopt",
            option,
            "-nodes",
            "-keyout",
            "/dev/null",
            "-out",
            text(&request),
            "-subj",
            "/CN=x",
        ]);
        assert!(output.status.success(), "{}", said(&output));
        let error =
            CheckedRequest::from_pem(&std::fs::read_to_string(&request).unwrap()).unwrap_err();
        assert!(error.to_string().contains("P-256"), "{error}");
    }
    let honest = LeafKey::generate("a").unwrap().request("cp-1").unwrap();
    let der =
        rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(honest.as_bytes()).unwrap();
    let pin = CheckedRequest::from_pem(&honest).unwrap().pin();
    // Behind the outer header of 3 bytes stands what the key signed, with a header of 2.
    let signed = 3..3 + 2 + usize::from(der[4]);
    for index in 0..der.len() {
        let mut altered = der.to_vec();
        altered[index] ^= 0x01;
        match CheckedRequest::from_pem(&pem_of("CERTIFICATE REQUEST", &altered)) {
            Ok(request) => {
                assert!(!signed.contains(&index), "byte {index} of {der:02x?}");
                assert_eq!(request.pin(), pin);
            }
            Err(error) => assert!(matches!(error, PkiError::BadRequest { .. })),
        }
    }
    for text in [
        "",
        "-----BEGIN CERTIFICATE REQUEST-----",
        &"x".repeat(20_000),
    ] {
        assert!(CheckedRequest::from_pem(text).is_err());
    }
}

fn pem_of(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

#[test]
fn an_authority_signs_its_own_leaves_only() {
    let bench = Bench::new();
    let key = LeafKey::generate("k").unwrap();
    let request = CheckedRequest::from_pem(&key.request("k").unwrap()).unwrap();
    let profile = with_subject(|subject| profile(LeafKind::Admin, subject));
    let error = bench
        .authority(AuthorityName::Etcd)
        .sign(&request, &profile, now_s(), Serial::new([1; 16]))
        .unwrap_err();
    assert!(matches!(error, PkiError::WrongAuthority { .. }), "{error}");
}

#[test]
fn a_sealed_authority_comes_back_and_signs_the_same_way() {
    let bench = Bench::new();
    let authority = bench.authority(AuthorityName::Kubernetes);
    let sealing = SealingKey::new([3; 32]);
    let sealed = authority.seal(&sealing, "cluster-1", [4; 12]).unwrap();
    let unseal = |key: &SealingKey, cluster: &str, name| {
        Authority::unseal(name, authority.certificate_pem(), key, cluster, &sealed)
    };
    let back = unseal(&sealing, "cluster-1", AuthorityName::Kubernetes).unwrap();
    assert_eq!(back.pin(), authority.pin());
    let key = LeafKey::generate("k").unwrap();
    let request = CheckedRequest::from_pem(&key.request("k").unwrap()).unwrap();
    let profile = with_subject(|subject| profile(LeafKind::Scheduler, subject));
    let signed = back
        .sign(&request, &profile, now_s(), Serial::new([1; 16]))
        .unwrap();
    let leaf = bench.file("leaf.pem", &signed);
    let ca = bench.file("ca.pem", authority.certificate_pem());
    assert!(
        openssl(&["verify", "-CAfile", text(&ca), text(&leaf)])
            .status
            .success()
    );

    assert!(
        unseal(
            &SealingKey::new([5; 32]),
            "cluster-1",
            AuthorityName::Kubernetes
        )
        .is_err()
    );
    assert!(unseal(&sealing, "cluster-2", AuthorityName::Kubernetes).is_err());
    assert!(unseal(&sealing, "cluster-1", AuthorityName::Etcd).is_err());
    let other = bench.authority(AuthorityName::Etcd);
    let error = Authority::load(
        AuthorityName::Etcd,
        other.certificate_pem(),
        &authority.key_pem(),
    )
    .unwrap_err();
    assert!(
        matches!(error, PkiError::AuthorityKeyMismatch { .. }),
        "{error}"
    );
}

#[test]
fn a_pin_trusts_one_authority_and_the_servers_that_it_signed() {
    let bench = Bench::new();
    let authority = bench.authority(AuthorityName::Agents);
    let ca = authority.certificate_pem();
    let pin = authority.pin();
    let now = now_s();
    let (_, agent) = bench.leaf(LeafKind::Agent);
    let good = chain(&[&agent, ca]);
    assert_eq!(pin.verify_chain(&good, now), Ok(()));
    assert_eq!(Pin::of_certificate(&good[1]), Some(pin));
    assert_eq!(pin.to_string().parse(), Ok(pin));

    let refusal = |pin: Pin, certificates: &[CertificateDer<'_>], at| {
        pin.verify_chain(certificates, at).unwrap_err()
    };
    let other =
        Authority::generate(AuthorityName::Agents, "prod", now, Serial::new([8; 16])).unwrap();
    assert!(matches!(
        refusal(other.pin(), &good, now),
        PinRefusal::OtherAuthority { .. }
    ));
    // The pinned authority is shown beside a leaf that another of the same name signed.
    let key = LeafKey::generate("k").unwrap();
    let request = CheckedRequest::from_pem(&key.request("k").unwrap()).unwrap();
    let profile = with_subject(|subject| profile(LeafKind::Agent, subject));
    let forged = other
        .sign(&request, &profile, now, Serial::new([1; 16]))
        .unwrap();
    assert_eq!(
        refusal(pin, &chain(&[&forged, ca]), now),
        PinRefusal::NotSigned
    );
    // An administrator's certificate is no server's.
    let (_, admin) = bench.leaf(LeafKind::AdminIdentity);
    assert_eq!(
        refusal(pin, &chain(&[&admin, ca]), now),
        PinRefusal::NotAServer
    );
    // The leaf's own pin is no authority's.
    let leaf_pin = Pin::of_certificate(&good[0]).unwrap();
    assert_eq!(
        refusal(leaf_pin, &[good[0].clone(), good[0].clone()], now),
        PinRefusal::NotAnAuthority
    );
    assert!(matches!(
        refusal(pin, &good, now + 2 * YEAR_S),
        PinRefusal::NotValidNow { .. }
    ));
    assert!(matches!(
        refusal(pin, &good[..1], now),
        PinRefusal::Length { count: 1 }
    ));
    let garbage = [good[0].clone(), CertificateDer::from(vec![0x30, 0x80])];
    assert_eq!(
        refusal(pin, &garbage, now),
        PinRefusal::Unreadable { index: 1 }
    );
}

#[test]
fn openssl_reads_the_keys() {
    let bench = Bench::new();
    let keys = ServiceAccountKeys::generate().unwrap();
    assert!(keys.private_pem.starts_with("-----BEGIN PRIVATE KEY-----"));
    assert!(keys.public_pem.starts_with("-----BEGIN PUBLIC KEY-----"));
    let private = bench.file("sa.key", &keys.private_pem);
    let output = openssl(&["pkey", "-in", text(&private), "-pubout"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).replace('\r', ""),
        keys.public_pem.replace('\r', "")
    );

    let (key, certificate) = bench.leaf(LeafKind::Agent);
    let read = LeafKey::from_pem("agent", &key.pem()).unwrap();
    assert_eq!(read.pin(), LeafFacts::from_pem(&certificate).unwrap().pin);
    assert!(LeafKey::from_pem("agent", "nonsense").is_err());
}
