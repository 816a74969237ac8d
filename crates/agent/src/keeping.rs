//! What the agent keeps on the disk for itself: its membership, its leaf, the sealing key.
//!
//! ```text
//! state/member.json       written last: what it stands on is complete when it exists
//! state/departed.json     this host is none of its cluster's any more
//! pki/khad/ca.crt         khactl-ca
//! pki/khad/tls.crt .key   this host's leaf
//! pki/khad/sealing.key    32 bytes
//! ```

use khactl_host::files::{self, Attributes};
use std::path::PathBuf;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::departure::Departure;
use crate::member::Member;
use crate::net::TlsFiles;
use crate::refused::{Refused, chain};
use khactl_pki::SealingKey;

/// None of these files comes near it.
const BYTES_MAX: u64 = 1 << 20;

/// The files.
#[derive(Debug, Clone)]
pub struct Keeping {
    data: PathBuf,
    run: PathBuf,
}

impl Keeping {
    /// Below the agent's data folder.
    pub fn new(config: &Config) -> Self {
        Self {
            data: config.data_dir.clone(),
            run: config.run_dir.clone(),
        }
    }

    fn at(&self, below: &str) -> PathBuf {
        self.data.join(below)
    }

    /// Makes the folders. The data folder lets others through to their own parts of it.
    ///
    /// # Errors
    /// The file system's.
    pub async fn prepare(&self) -> Result<(), Refused> {
        files::ensure_dir(&self.run, Attributes::mode(0o755))
            .await
            .map_err(|error| kept("make khactl's folders", &error))?;
        for (below, mode) in [
            ("", 0o711),
            ("state", 0o700),
            ("pki", 0o711),
            ("pki/khad", 0o700),
        ] {
            files::ensure_dir(self.at(below), Attributes::mode(mode))
                .await
                .map_err(|error| kept("make khactl's folders", &error))?;
        }
        Ok(())
    }

    /// This host's membership, if it is a member.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub async fn member(&self) -> Result<Option<Member>, Refused> {
        let doing = "read this host's membership";
        let path = self.at("state/member.json");
        let Some(bytes) = files::read(&path, BYTES_MAX)
            .await
            .map_err(|error| kept(doing, &error))?
        else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            Refused::new(
                "KHA3041",
                doing,
                format!("{} is damaged: {error}", path.display()),
                "restore it from a backup, or let the host join again",
            )
        })
    }

    /// Writes this host's membership.
    ///
    /// # Errors
    /// The file system's.
    pub async fn keep_member(&self, member: &Member) -> Result<(), Refused> {
        let text = serde_json::to_vec_pretty(member).expect("a member has no foreign types");
        self.write("state/member.json", text, 0o600).await
    }

    /// That this host left its cluster, if it did.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub async fn departure(&self) -> Result<Option<Departure>, Refused> {
        let Some(bytes) = self.read("state/departed.json").await? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|_| missing(&self.at("state/departed.json")))
    }

    /// Writes that this host left its cluster: from now on it is started as no member.
    ///
    /// # Errors
    /// The file system's.
    pub async fn keep_departure(&self, departure: &Departure) -> Result<(), Refused> {
        let text = serde_json::to_vec_pretty(departure).expect("a departure holds texts alone");
        self.write("state/departed.json", text, 0o600).await
    }

    /// Removes every key and certificate, the components' too.
    ///
    /// # Errors
    /// The file system's.
    pub async fn forget_keys(&self) -> Result<(), Refused> {
        files::remove_tree(self.at("pki")).await.map_err(|error| {
            kept(
                "remove the keys of a cluster that this host has left",
                &error,
            )
        })
    }

    /// Writes the agent's leaf, its authority and the sealing key.
    ///
    /// # Errors
    /// The file system's.
    pub async fn keep_identity(&self, tls: &TlsFiles, sealing: &SealingKey) -> Result<(), Refused> {
        self.write("pki/khad/sealing.key", sealing.bytes().to_vec(), 0o600)
            .await?;
        self.write("pki/khad/ca.crt", tls.ca_pem.clone().into_bytes(), 0o644)
            .await?;
        self.keep_key(&tls.key_pem).await?;
        self.keep_certificate(&tls.cert_pem).await
    }

    /// Writes the agent's leaf alone, with its chain: a renewed one belongs to the same key.
    ///
    /// # Errors
    /// The file system's.
    pub async fn keep_certificate(&self, cert_pem: &str) -> Result<(), Refused> {
        self.write("pki/khad/tls.crt", cert_pem.as_bytes().to_vec(), 0o644)
            .await
    }

    /// Writes the agent's key alone: a join that is interrupted goes on with the same one.
    ///
    /// # Errors
    /// The file system's.
    pub async fn keep_key(&self, key_pem: &str) -> Result<(), Refused> {
        self.write("pki/khad/tls.key", key_pem.as_bytes().to_vec(), 0o600)
            .await
    }

    /// The agent's key, if there is one.
    ///
    /// # Errors
    /// The file system's.
    pub async fn key(&self) -> Result<Option<String>, Refused> {
        Ok(self
            .read("pki/khad/tls.key")
            .await?
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The agent's leaf, key and authority.
    ///
    /// # Errors
    /// One of them is missing.
    pub async fn tls(&self) -> Result<TlsFiles, Refused> {
        Ok(TlsFiles {
            ca_pem: self.text("pki/khad/ca.crt").await?,
            cert_pem: self.text("pki/khad/tls.crt").await?,
            key_pem: Zeroizing::new(self.text("pki/khad/tls.key").await?),
        })
    }

    /// The sealing key.
    ///
    /// # Errors
    /// It is missing or has the wrong length.
    pub async fn sealing_key(&self) -> Result<SealingKey, Refused> {
        let bytes = self.read("pki/khad/sealing.key").await?;
        bytes
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .map(SealingKey::new)
            .ok_or_else(|| missing(&self.at("pki/khad/sealing.key")))
    }

    async fn text(&self, below: &str) -> Result<String, Refused> {
        let bytes = self.read(below).await?;
        bytes
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| missing(&self.at(below)))
    }

    async fn read(&self, below: &str) -> Result<Option<Vec<u8>>, Refused> {
        files::read(self.at(below), BYTES_MAX)
            .await
            .map_err(|error| kept("read what this host keeps", &error))
    }

    async fn write(&self, below: &str, bytes: Vec<u8>, mode: u32) -> Result<(), Refused> {
        files::write(self.at(below), bytes, Attributes::mode(mode))
            .await
            .map_err(|error| kept("write what this host keeps", &error))
    }
}

fn kept(doing: &str, error: &khactl_host::HostError) -> Refused {
    Refused::new(
        "KHA3042",
        doing,
        chain(error),
        "see that the disk has room and the folder belongs to root",
    )
}

fn missing(path: &std::path::Path) -> Refused {
    Refused::new(
        "KHA3043",
        "read what this host keeps",
        format!("{} is missing or damaged", path.display()),
        "let the host join again",
    )
}
