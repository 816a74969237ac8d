//! Reachability back: before a host is admitted, the leader calls its port 9443, and the key
//! that answers must be the one the host asked a certificate for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use khactl_sys::clock;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::server::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::dial::{DialError, Mismatch, dial};
use super::error::NetError;
use super::listener::bind;
use super::tls::{ALPN, Judge, Presented, client, key_pin, provider};

const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWERS_MAX: usize = 16;
/// How long the temporary certificate says it is valid; nobody judges its dates.
const VALID_FOR: Duration = Duration::from_hours(1);

/// Calls `address` and checks that what answers owns the key whose SHA-256 (of the public
/// key, in hex, with or without "sha256:") is given.
///
/// # Errors
/// Refused, no answer within 2 s, unreachable, no TLS, or [`DialError::WrongKey`].
pub async fn probe_back(address: SocketAddr, key_pin_hex: &str) -> Result<(), DialError> {
    let judge = KeyJudge {
        expected: from_hex(key_pin_hex).ok_or(DialError::WrongKey { address })?,
    };
    let config = client(judge, None).map_err(|source| DialError::Handshake {
        address,
        source: std::io::Error::other(source),
    })?;
    let mut stream = dial(address, config, PROBE_TIMEOUT).await?;
    // The answer is known; whether the farewell arrives does not matter.
    let _ = stream.shutdown().await;
    Ok(())
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[derive(Debug)]
struct KeyJudge {
    expected: [u8; 32],
}

impl Judge for KeyJudge {
    fn judge(&self, presented: &Presented<'_>) -> Result<(), rustls::Error> {
        match key_pin(presented.leaf) {
            Some(pin) if verify_slices_are_equal(&pin, &self.expected).is_ok() => Ok(()),
            _ => Err(Mismatch::Key.into()),
        }
    }
}

/// The joiner's side: answers on its port with its key until closed or dropped. It serves
/// nothing.
#[derive(Debug)]
pub struct ProbeAnswer {
    address: SocketAddr,
    tasks: JoinSet<()>,
}

impl ProbeAnswer {
    /// Listens at `address` with a temporary self-signed certificate of the key (PKCS#8 PEM).
    ///
    /// # Errors
    /// [`NetError::PortTaken`], [`NetError::Listen`], [`NetError::Identity`].
    pub async fn start(address: SocketAddr, key_pem: &str) -> Result<Self, NetError> {
        let acceptor = TlsAcceptor::from(Arc::new(server(key_pem)?));
        let listener = bind(address).await?;
        let address = listener
            .local_addr()
            .map_err(|source| NetError::Listen { address, source })?;
        let mut tasks = JoinSet::new();
        tasks.spawn(answer(listener, acceptor));
        Ok(Self { address, tasks })
    }

    /// Where it answers, with the port that the system chose if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends, and returns once the port is free for the agent's own listener.
    pub async fn close(mut self) {
        self.tasks.shutdown().await;
    }
}

fn server(key_pem: &str) -> Result<ServerConfig, NetError> {
    let unusable = NetError::identity("key");
    let pair = KeyPair::from_pem(key_pem).map_err(|e| unusable(e.into()))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = clock::wall().into();
    params.not_after = (clock::wall() + VALID_FOR).into();
    let certificate = params.self_signed(&pair).map_err(|e| unusable(e.into()))?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|e| unusable(e.into()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| unusable(e.into()))?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .map_err(|e| unusable(e.into()))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    Ok(config)
}

async fn answer(listener: TcpListener, acceptor: TlsAcceptor) {
    let mut answers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if answers.len() < ANSWERS_MAX => {
                let Ok((stream, _)) = accepted else { continue };
                let handshake = acceptor.accept(stream);
                answers.spawn(async move {
                    // Whether the caller liked what it saw, it says elsewhere.
                    if let Ok(Ok(mut stream)) =
                        tokio::time::timeout(ANSWER_TIMEOUT, handshake).await
                    {
                        let _ = stream.shutdown().await;
                    }
                });
            }
            Some(_) = answers.join_next() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_pin_is_64_hexadecimal_digits_and_nothing_else(
            text in "[0-9a-fA-F]{64}|[0-9a-f+ä]{31,64}|\\PC{0,80}",
        ) {
            let is_pin = text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
            prop_assert_eq!(from_hex(&text).is_some(), is_pin);
        }
    }

    #[test]
    fn pin_is_read_with_and_without_its_prefix() {
        let hex = "0f".repeat(32);
        assert_eq!(from_hex(&hex), Some([0x0f; 32]));
        assert_eq!(from_hex(&format!("sha256:{hex}")), Some([0x0f; 32]));
        for bad in [
            "",
            "0f",
            &"zz".repeat(32),
            &"+f".repeat(32),
            &"ä".repeat(32),
        ] {
            assert_eq!(from_hex(bad), None, "{bad}");
        }
    }
}
