//! What `khactl bundle create` takes from its environment: the proxy, the hosts without one, and whom TLS believes. The site
//! behind all of it has nothing, which ends each command at once. How downloads go on is tested in khactl-bundle.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Nothing listens at the discard port.
const NO_PROXY_THERE: &str = "http://127.0.0.1:9";

/// A site that has nothing, and a proxy to itself in one: a client that says CONNECT first means the proxy.
struct Site {
    address: SocketAddr,
    authority_pem: String,
    connects: Arc<Mutex<Vec<String>>>,
}

impl Site {
    fn start() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let authority_pem = params.self_signed(&key).unwrap().pem();
        let config = server(&Issuer::new(params, key));

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let site = Self {
            address: listener.local_addr().unwrap(),
            authority_pem,
            connects: Arc::default(),
        };
        let connects = Arc::clone(&site.connects);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, connects) = (Arc::clone(&config), Arc::clone(&connects));
                thread::spawn(move || answer(stream, config, &connects));
            }
        });
        site
    }

    fn authority(&self, folder: &Path) -> String {
        let file = folder.join("authority.pem");
        std::fs::write(&file, &self.authority_pem).unwrap();
        file.display().to_string()
    }

    fn take_connects(&self) -> Vec<String> {
        std::mem::take(&mut *self.connects.lock().unwrap())
    }
}

fn server(issuer: &Issuer<'_, KeyPair>) -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let names = ["mirror.test".to_owned(), "127.0.0.1".to_owned()];
    let leaf = CertificateParams::new(names).unwrap();
    let leaf = leaf.signed_by(&key, issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    Arc::new(config)
}

fn answer(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
    connects: &Mutex<Vec<String>>,
) -> io::Result<()> {
    let mut first = [0];
    stream.peek(&mut first)?;
    if first == *b"C" {
        // Byte by byte: what follows the head is TLS.
        let head = BufReader::with_capacity(1, stream.try_clone()?);
        for (at, line) in head.lines().enumerate() {
            let line = line?;
            if line.is_empty() {
                break;
            }
            if at == 0 {
                connects.lock().unwrap().push(line);
            }
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    }
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut client = StreamOwned::new(connection, stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    client.write_all(b"HTTP/1.1 404 None\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    client.conn.send_close_notify();
    client.flush()
}

/// The code of the error that ends it.
fn create(folder: &Path, from: &str, environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_khactl"));
    for name in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    let output = command
        .args(["-o", "json", "bundle", "create", "--kubernetes", "v1.30.1"])
        .args([
            "--etcd",
            "v3.5.16",
            "--from",
            from,
            "--out",
            "bundle.tar.gz",
        ])
        .env_remove("SSL_CERT_DIR")
        .envs(environment.iter().copied())
        .current_dir(folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let error: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    error["code"].as_str().expect("a code").to_owned()
}

#[test]
fn proxy_and_authorities_are_those_of_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let ended = |from: &str, environment: &[(&str, &str)]| create(folder.path(), from, environment);
    let (site, stranger) = (Site::start(), Site::start());
    let proxy = format!("http://{}", site.address);
    let believed = site.authority(folder.path());

    let through = [
        ("HTTPS_PROXY", proxy.as_str()),
        ("SSL_CERT_FILE", believed.as_str()),
    ];
    assert_eq!(ended("https://mirror.test", &through), "KHA1203");
    assert_eq!(
        site.take_connects(),
        ["CONNECT mirror.test:443 HTTP/1.1"],
        "the proxy was asked, once"
    );

    let direct = format!("https://{}", site.address);
    let past = [
        ("HTTPS_PROXY", NO_PROXY_THERE),
        ("NO_PROXY", "localhost,127.0.0.1"),
        ("SSL_CERT_FILE", believed.as_str()),
    ];
    assert_eq!(ended(&direct, &past), "KHA1203");
    assert!(site.take_connects().is_empty(), "no proxy was asked");
    // Nor does it matter that it could not be asked.
    let past_socks = [
        ("ALL_PROXY", "socks5://127.0.0.1:1080"),
        ("NO_PROXY", "127.0.0.1"),
        ("SSL_CERT_FILE", believed.as_str()),
    ];
    assert_eq!(ended(&direct, &past_socks), "KHA1203");

    let direct = format!("https://{}", stranger.address);
    let unknown = [("SSL_CERT_FILE", believed.as_str())];
    assert_eq!(ended(&direct, &unknown), "KHA1214");

    let socks = [("HTTPS_PROXY", "socks5://127.0.0.1:1080")];
    assert_eq!(ended("https://mirror.test", &socks), "KHA1201");
}
