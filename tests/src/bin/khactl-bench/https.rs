//! One GET on a connection of its own, for the status alone. A program that is run for every look
//! would cost more than what is looked at.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A connect on a switch takes no millisecond; one to an address that nobody has yet must not keep
/// the next look waiting.
const CONNECT: Duration = Duration::from_millis(100);

/// An apiserver that is starting lets requests wait; the next look asks again.
const ANSWER: Duration = Duration::from_secs(1);

/// `HTTP/1.1 200`
const STATUS_BYTES: usize = 12;

/// Trust in the authorities of a PEM file; none while there is no such file.
pub(crate) fn trust(authorities: &Path) -> Option<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authorities).ok()? {
        roots.add(certificate.ok()?).ok()?;
    }
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Some(Arc::new(config))
}

/// Whether `GET path` is answered with 200 in plain text.
pub(crate) fn http_ok(address: SocketAddr, path: &str) -> bool {
    connect(address).is_some_and(|stream| asked(stream, address, path).is_some())
}

/// Whether `GET path` is answered with 200 over TLS, by a server whose certificate is for this
/// address.
pub(crate) fn https_ok(address: SocketAddr, path: &str, trust: &Arc<ClientConfig>) -> bool {
    let Some(stream) = connect(address) else {
        return false;
    };
    let name = ServerName::IpAddress(address.ip().into());
    ClientConnection::new(Arc::clone(trust), name)
        .is_ok_and(|tls| asked(StreamOwned::new(tls, stream), address, path).is_some())
}

fn connect(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, CONNECT).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    stream.set_write_timeout(Some(ANSWER)).ok()?;
    Some(stream)
}

fn asked(mut stream: impl Read + Write, address: SocketAddr, path: &str) -> Option<()> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut status = [0; STATUS_BYTES];
    stream.read_exact(&mut status).ok()?;
    status.ends_with(b" 200").then_some(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn answered(answer: &'static str) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).unwrap();
            assert!(request[..length].starts_with(b"GET /readyz HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let ok = http_ok(address, "/readyz");
        server.join().unwrap();
        ok
    }

    #[test]
    fn only_an_answer_of_200_counts_as_ready() {
        assert!(answered("HTTP/1.1 200 OK\r\n\r\nok"));
        assert!(!answered("HTTP/1.1 500 Internal Server Error\r\n\r\n"));
        assert!(!answered("HTTP/1.1"));
    }

    #[test]
    fn nobody_is_not_ready() {
        let address = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        assert!(!http_ok(address, "/readyz"));
    }
}
