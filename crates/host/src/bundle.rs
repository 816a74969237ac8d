//! A bundle: a folder of programs with a manifest that says what each must be.
//!
//! Nothing runs that was not verified right before; a digest is computed again only when the file
//! has changed, so that verifying is free otherwise. It never writes into a bundle.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::digest;
use crate::error::HostError;
use crate::files;
use crate::offload::offload;

pub use khactl_bundle::{MANIFEST, MANIFEST_BYTES_MAX, Manifest, ProgramEntry, host_arch};

/// A program whose file is the one of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedProgram {
    /// Where it is.
    pub path: PathBuf,
    /// SHA-256, 64 hexadecimal digits.
    pub sha256: String,
    /// Its version.
    pub version: String,
}

/// What shows that a file may have changed.
type Identity = (PathBuf, u64, u64, (i64, i64), (i64, i64));

/// Digests of files by path, inode, size, modification and change time. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct DigestCache(Arc<Mutex<HashMap<Identity, String>>>);

impl DigestCache {
    fn digest(&self, path: &Path) -> io::Result<String> {
        let file = File::open(path)?;
        let key = identity(path, &file.metadata()?);
        if let Some(known) = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
        {
            return Ok(known.clone());
        }
        let digest = digest::of_reader(&file)?;
        // A file that was written to meanwhile has an identity that this digest is not of.
        if identity(path, &file.metadata()?) == key {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|(other, ..), _| other != path);
            known.insert(key, digest.clone());
        }
        Ok(digest)
    }
}

fn identity(path: &Path, found: &Metadata) -> Identity {
    (
        path.to_owned(),
        found.ino(),
        found.size(),
        (found.mtime(), found.mtime_nsec()),
        (found.ctime(), found.ctime_nsec()),
    )
}

/// An opened bundle.
#[derive(Debug, Clone)]
pub struct Bundle {
    folder: PathBuf,
    manifest: Manifest,
    digests: DigestCache,
}

impl Bundle {
    /// Reads the manifest in `folder` and checks that it makes sense on this host. The programs
    /// are not looked at yet.
    pub async fn open(
        folder: impl Into<PathBuf>,
        digests: &DigestCache,
    ) -> Result<Self, HostError> {
        let folder = folder.into();
        let path = folder.join(MANIFEST);
        let missing = |source| HostError::ManifestMissing {
            bundle: folder.clone(),
            source: Box::new(source),
        };
        let text = files::read(&path, MANIFEST_BYTES_MAX)
            .await
            .and_then(|text| {
                text.ok_or_else(|| HostError::read(&path)(io::ErrorKind::NotFound.into()))
            })
            .map_err(missing)?;
        let manifest = parse(&folder, &text)?;
        if manifest.arch != host_arch() {
            return Err(HostError::WrongArchitecture {
                bundle: folder,
                bundle_arch: manifest.arch,
                host_arch: host_arch().to_owned(),
            });
        }
        Ok(Self {
            folder,
            manifest,
            digests: digests.clone(),
        })
    }

    /// What the bundle holds.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Compares a program's file with the manifest.
    pub async fn verify(&self, program: &str) -> Result<VerifiedProgram, HostError> {
        let entry =
            self.manifest
                .programs
                .get(program)
                .ok_or_else(|| HostError::ProgramNotListed {
                    program: program.to_owned(),
                    bundle: self.folder.clone(),
                })?;
        let path = self.folder.join(&entry.file);
        let (cache, program, expected) = (self.digests.clone(), program.to_owned(), entry.clone());
        offload(move || {
            if !fs::metadata(&path).is_ok_and(|found| found.is_file()) {
                return Err(HostError::ProgramMissing { program, path });
            }
            let found = cache.digest(&path).map_err(HostError::read(&path))?;
            if found != expected.sha256 {
                return Err(HostError::ProgramAltered {
                    program,
                    path,
                    expected: expected.sha256,
                    found,
                });
            }
            Ok(VerifiedProgram {
                path,
                sha256: found,
                version: expected.version,
            })
        })
        .await
    }

    /// Verifies every program and gives all that is wrong, not the first alone.
    pub async fn verify_all(&self) -> Vec<HostError> {
        let mut wrong = Vec::new();
        for program in self.manifest.programs.keys() {
            wrong.extend(self.verify(program).await.err());
        }
        wrong
    }
}

fn parse(folder: &Path, text: &[u8]) -> Result<Manifest, HostError> {
    Manifest::parse(text).map_err(|reason| HostError::ManifestInvalid {
        bundle: folder.to_owned(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_bundle(folder: &Path, arch: &str, file: &str, sha256: &str) {
        let manifest = serde_json::json!({
            "kubernetes": "v1.20.2", "etcd": "3.5.16", "arch": arch,
            "programs": {"etcd": {"file": file, "version": "3.5.16", "sha256": sha256, "size": 3}},
        });
        fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    }

    #[tokio::test]
    async fn altered_program_is_refused_with_both_digests() {
        let folder = tempfile::tempdir().unwrap();
        let good = digest::of_bytes(b"abc");
        write_bundle(folder.path(), host_arch(), "etcd", &good);
        fs::write(folder.path().join("etcd"), "abc").unwrap();
        let bundle = Bundle::open(folder.path(), &DigestCache::default())
            .await
            .unwrap();
        let verified = bundle.verify("etcd").await.unwrap();
        assert_eq!(verified.path, folder.path().join("etcd"));
        assert_eq!(
            bundle.verify("etcd").await.unwrap(),
            verified,
            "from the cache"
        );

        // Same size, so that only times and contents tell.
        fs::write(folder.path().join("etcd"), "abd").unwrap();
        let text = bundle.verify("etcd").await.unwrap_err().to_string();
        assert!(
            text.contains(&good) && text.contains(&digest::of_bytes(b"abd")),
            "{text}"
        );
    }

    #[tokio::test]
    async fn missing_program_missing_manifest_and_unlisted_program_are_different_errors() {
        let folder = tempfile::tempdir().unwrap();
        let cache = DigestCache::default();
        let error = Bundle::open(folder.path(), &cache).await.unwrap_err();
        assert!(
            matches!(error, HostError::ManifestMissing { .. }),
            "{error}"
        );
        write_bundle(
            folder.path(),
            host_arch(),
            "etcd",
            &digest::of_bytes(b"abc"),
        );
        let bundle = Bundle::open(folder.path(), &cache).await.unwrap();
        let error = bundle.verify("etcd").await.unwrap_err();
        assert!(matches!(error, HostError::ProgramMissing { .. }), "{error}");
        let error = bundle.verify("kube-apiserver").await.unwrap_err();
        assert!(
            matches!(error, HostError::ProgramNotListed { .. }),
            "{error}"
        );
        assert_eq!(bundle.verify_all().await.len(), 1);
    }

    #[tokio::test]
    async fn bundle_for_another_processor_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        write_bundle(folder.path(), "s390x", "etcd", &digest::of_bytes(b"abc"));
        let error = Bundle::open(folder.path(), &DigestCache::default())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("s390x"), "{error}");
    }

    #[test]
    fn manifest_cannot_point_outside_its_bundle() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["/bin/sh", "../etcd", "a/../../etcd", ""] {
            write_bundle(folder.path(), "amd64", file, &digest::of_bytes(b"abc"));
            let text = fs::read(folder.path().join("manifest.json")).unwrap();
            let error = parse(folder.path(), &text).unwrap_err();
            assert!(
                matches!(error, HostError::ManifestInvalid { .. }),
                "{file}: {error}"
            );
        }
        assert!(parse(folder.path(), b"{\"kubernetes\": 1}").is_err());
    }
}
