//! The manifest: which programs a bundle holds and what each must be.

use std::collections::BTreeMap;
use std::path::{Component, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest;
use crate::error::BundleError;

/// The manifest's file name in a bundle.
pub const MANIFEST: &str = "manifest.json";
/// A manifest lists a dozen programs; this is a thousand times that.
pub const MANIFEST_BYTES_MAX: u64 = 1 << 20;
/// The largest program of a control plane has 130 MB.
pub(crate) const PROGRAM_BYTES_MAX: u64 = 1 << 30;
/// Six to eight are usual.
const PROGRAMS_MAX: usize = 32;

/// What `manifest.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of Kubernetes, for example `v1.20.2`.
    pub kubernetes: String,
    /// Version of etcd, for example `3.5.16`.
    pub etcd: String,
    /// Processor in Debian's words, for example `amd64`.
    pub arch: String,
    /// The programs by name.
    pub programs: BTreeMap<String, ProgramEntry>,
}

/// One program of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramEntry {
    /// File inside the bundle, relative to it.
    pub file: PathBuf,
    /// The program's own version.
    pub version: String,
    /// SHA-256 of the file, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Size of the file in bytes.
    pub size: u64,
}

impl Manifest {
    /// Reads one and checks that it makes sense by itself.
    ///
    /// # Errors
    /// What is wrong, with the field.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        for (name, entry) in &manifest.programs {
            let inside = entry
                .file
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
            if !inside || entry.file.as_os_str().is_empty() {
                return Err(format!(
                    "programs.{name}.file is {}, which is not inside the bundle",
                    entry.file.display()
                ));
            }
            if !digest::is_hex(&entry.sha256) {
                return Err(format!(
                    "programs.{name}.sha256 is not 64 lower-case hexadecimal digits"
                ));
            }
        }
        Ok(manifest)
    }

    /// Reads one that travels: every program is a plain file beside the manifest and of a size that one may
    /// have, and no two are the same file.
    pub(crate) fn parse_for_travel(text: &[u8]) -> Result<Self, BundleError> {
        let invalid = |reason| BundleError::Manifest { reason };
        let manifest = Self::parse(text).map_err(invalid)?;
        let count = manifest.programs.len();
        if count == 0 || count > PROGRAMS_MAX {
            return Err(invalid(format!(
                "it lists {count} programs; 1 to {PROGRAMS_MAX} make sense"
            )));
        }
        for (name, entry) in &manifest.programs {
            // The name is the file's: nothing to escape with, and nothing twice.
            if entry.file.as_os_str() != name.as_str() || !is_plain_name(name) || name == MANIFEST {
                return Err(invalid(format!(
                    "programs.{name}.file is {}; the file of a program bears its name",
                    entry.file.display()
                )));
            }
            if entry.size > PROGRAM_BYTES_MAX {
                return Err(invalid(format!(
                    "programs.{name}.size is {}; no program has more than {PROGRAM_BYTES_MAX} bytes",
                    entry.size
                )));
            }
        }
        Ok(manifest)
    }

    /// As the file holds it; the same manifest gives the same bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        // A structure of texts and numbers has no part that JSON could not hold.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

/// Letters, digits, and between them dots, dashes and underscores: a file name that leads nowhere.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (1..=100).contains(&name.len())
        && name.bytes().all(plain)
        && name.as_bytes()[0].is_ascii_alphanumeric()
}

/// This host's processor in Debian's words.
pub fn host_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, file: &str, size: u64) -> Vec<u8> {
        serde_json::json!({
            "kubernetes": "v1.30.1", "etcd": "3.5.16", "arch": "amd64",
            "programs": {name: {
                "file": file, "version": "3.5.16", "sha256": digest::of_bytes(b"x"), "size": size,
            }},
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn one_that_travels_names_plain_files_alone() {
        Manifest::parse_for_travel(&manifest("etcd", "etcd", 1)).unwrap();
        for (name, file, size) in [
            ("etcd", "../etcd", 1),
            ("etcd", "/bin/etcd", 1),
            ("etcd", "bin/etcd", 1),
            ("etcd", "etcdctl", 1),
            ("..", "..", 1),
            (".hidden", ".hidden", 1),
            ("", "", 1),
            ("manifest.json", "manifest.json", 1),
            ("etcd", "etcd", PROGRAM_BYTES_MAX + 1),
        ] {
            let refused = Manifest::parse_for_travel(&manifest(name, file, size)).unwrap_err();
            assert_eq!(refused.code(), "KHA1209", "{name} {file} {size}");
        }
    }

    #[test]
    fn what_it_writes_it_reads() {
        let read = Manifest::parse(&manifest("etcd", "etcd", 1)).unwrap();
        assert_eq!(Manifest::parse_for_travel(&read.bytes()).unwrap(), read);
    }
}
