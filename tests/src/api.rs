//! Kubernetes' API for one caller at a time, over one connection, with nothing between: no retry, no cache, no
//! second address. A program that is run for every look would cost more than what is looked at.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// No answer that anyone here asks for is longer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A certificate with its chain, and its key.
pub type Credentials = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// What the API answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP's status.
    pub status: u16,
    /// What came with it.
    pub body: Vec<u8>,
}

/// A caller of the API. It connects again after every failure.
#[derive(Debug)]
pub struct Api {
    server: SocketAddr,
    config: Arc<ClientConfig>,
    open: Option<StreamOwned<ClientConnection, TcpStream>>,
}

impl Api {
    /// From a kubeconfig as `khactl` writes them: one cluster, one user, the server an address, certificates inside or in
    /// files.
    pub fn new(kubeconfig: &str) -> anyhow::Result<Self> {
        let server = field(kubeconfig, "server")?;
        let server = server
            .strip_prefix("https://")
            .and_then(|address| address.parse().ok())
            .with_context(|| format!("{server} is no https://ADDRESS:PORT"))?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(kubeconfig, "certificate-authority")? {
            roots.add(authority)?;
        }
        let (chain, key) = credentials(kubeconfig)?;
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Self {
            server,
            config: Arc::new(config),
            open: None,
        })
    }

    /// One call; no single wait on the network takes longer than `within`. After an error it is unknown whether the
    /// call took effect.
    pub fn call(
        &mut self,
        method: &str,
        path: &str,
        body: &str,
        within: Duration,
    ) -> anyhow::Result<Answer> {
        // Taken out: a connection on which a call failed is not used again.
        let mut stream = match self.open.take() {
            Some(stream) => stream,
            None => self.connect(within)?,
        };
        stream.sock.set_read_timeout(Some(within))?;
        stream.sock.set_write_timeout(Some(within))?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.server,
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let answer = read(&mut BufReader::new(&mut stream))
            .with_context(|| format!("{method} {path} at {}", self.server))?;
        self.open = Some(stream);
        Ok(answer)
    }

    fn connect(
        &self,
        within: Duration,
    ) -> anyhow::Result<StreamOwned<ClientConnection, TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.server, within)
            .with_context(|| format!("connecting to {}", self.server))?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(self.server.ip().into());
        let tls = ClientConnection::new(Arc::clone(&self.config), name)?;
        Ok(StreamOwned::new(tls, stream))
    }
}

/// The user's certificate and key.
pub fn credentials(kubeconfig: &str) -> anyhow::Result<Credentials> {
    let chain = certificates(kubeconfig, "client-certificate")?;
    let key = PrivateKeyDer::from_pem_slice(&data(kubeconfig, "client-key")?)?;
    Ok((chain, key))
}

fn certificates(text: &str, name: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(&data(text, name)?)
        .collect::<Result<_, _>>()
        .with_context(|| format!("{name} is no certificate"))
}

/// What is inside under `NAME-data`, or in the file that NAME names.
fn data(text: &str, name: &str) -> anyhow::Result<Vec<u8>> {
    if let Ok(inside) = field(text, &format!("{name}-data")) {
        return STANDARD
            .decode(inside)
            .with_context(|| format!("{name}-data is no base64"));
    }
    let file = field(text, name)?;
    fs::read(file).with_context(|| format!("cannot read {file}"))
}

fn field<'a>(text: &'a str, name: &str) -> anyhow::Result<&'a str> {
    text.lines()
        .filter_map(|line| line.trim().split_once(':'))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.trim().trim_matches('"'))
        .with_context(|| format!("the kubeconfig has no {name}"))
}

fn read(stream: &mut impl BufRead) -> anyhow::Result<Answer> {
    let first = line(stream)?;
    let status = first
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .with_context(|| format!("{first:?} begins no answer"))?;
    let mut length = None;
    let mut chunked = false;
    loop {
        let header = line(stream)?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').unwrap_or((&header, ""));
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = Some(value.trim().parse::<usize>()?),
            "transfer-encoding" => chunked = value.trim() == "chunked",
            _ => {}
        }
    }
    let mut body = Vec::new();
    match length {
        _ if chunked => loop {
            let size = usize::from_str_radix(&line(stream)?, 16)?;
            take(stream, size, &mut body)?;
            ensure!(line(stream)?.is_empty(), "a chunk is longer than it says");
            if size == 0 {
                break;
            }
        },
        Some(length) => take(stream, length, &mut body)?,
        None => bail!("an answer that does not say how long it is"),
    }
    Ok(Answer { status, body })
}

/// Without its end.
fn line(stream: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    ensure!(line.ends_with("\r\n"), "the answer ends early");
    Ok(line.trim_end().to_owned())
}

fn take(stream: &mut impl BufRead, size: usize, body: &mut Vec<u8>) -> anyhow::Result<()> {
    ensure!(body.len() + size <= ANSWER_BYTES_MAX, "too long an answer");
    let before = body.len();
    body.resize(before + size, 0);
    stream.read_exact(&mut body[before..])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_to_its_end_in_both_forms_and_not_beyond() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 409 Conflict\r\n\
                    Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        let mut stream = text.as_bytes();
        let first = read(&mut stream).unwrap();
        assert_eq!((first.status, first.body), (200, b"ok".to_vec()));
        let second = read(&mut stream).unwrap();
        assert_eq!((second.status, second.body), (409, b"abcd".to_vec()));
        assert!(read(&mut stream).is_err(), "nothing is left");
    }

    #[test]
    fn an_answer_that_is_cut_off_is_none() {
        let mut stream = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok".as_bytes();
        assert!(read(&mut stream).is_err());
    }

    #[test]
    fn fields_of_a_kubeconfig_are_found_by_their_whole_name() {
        let text = "- cluster:\n    server: \"https://10.77.0.11:6443\"\n";
        assert_eq!(field(text, "server").unwrap(), "https://10.77.0.11:6443");
        assert!(field(text, "serve").is_err());
    }
}
