//! TLS before a site, with a certificate by an authority that no system knows.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// An authority of a mirror's own.
pub(crate) struct Authority {
    pub(crate) certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params
            .distinguished_name
            .push(DnType::CommonName, "a mirror's authority");
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self {
            certificate,
            issuer: Issuer::new(params, key),
        }
    }

    /// A server of that name or address, whose certificate ends with that year's beginning.
    pub(crate) fn server(&self, name: &str, ends: i32) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(ends, 1, 1);
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
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
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// As TLS wants it.
    Said,
    /// As a line that is cut ends it, or somebody on the way.
    Cut,
}

/// Serves `site` by TLS, and returns where. It ends with the test's process.
pub(crate) fn before(site: SocketAddr, config: Arc<ServerConfig>, end: End) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            thread::spawn(move || pass(stream, config, site, end));
        }
    });
    address
}

/// One request, which has a head alone, and its answer. A client that refuses the handshake ends it.
fn pass(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    site: SocketAddr,
    end: End,
) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut client = StreamOwned::new(connection, stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let mut site = TcpStream::connect(site)?;
    site.write_all(&head)?;
    io::copy(&mut site, &mut client)?;
    if end == End::Said {
        client.conn.send_close_notify();
    }
    client.flush()?;
    // Nothing unread is left, so that the end is an end and not a reset that overtakes the bytes.
    client.sock.shutdown(Shutdown::Write)?;
    io::copy(&mut client.sock, &mut io::sink())?;
    Ok(())
}
