//! The bundles of a host: one folder for each, under the name that a spec gives.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;

use crate::archive;
use crate::digest;
use crate::error::BundleError;
use crate::manifest::{MANIFEST, Manifest, is_plain_name};
use crate::staging::{Staging, make_folder, taken};

/// A folder of bundles.
#[derive(Debug, Clone)]
pub struct Store(PathBuf);

/// A bundle in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Its folder: `controlPlane.bundle` of a spec.
    pub path: PathBuf,
    /// SHA-256 of its manifest, and by it of everything.
    pub digest: String,
    /// Version of Kubernetes.
    pub kubernetes: String,
    /// Version of etcd.
    pub etcd: String,
    /// Processor in Debian's words.
    pub arch: String,
    /// It was there before.
    pub already: bool,
}

impl Store {
    /// The one in that folder, which need not be there yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// Takes a bundle's file in, under `name` or the version of Kubernetes. The same bundle again is no error.
    ///
    /// # Errors
    /// It is damaged, altered, for another processor or not the one with the digest `wanted`; another one has
    /// the name; the disk. Nothing is in its place then.
    pub fn import(
        &self,
        file: &Path,
        name: Option<&str>,
        wanted: Option<&str>,
    ) -> Result<Imported, BundleError> {
        let mut reader = archive::Reader::open(file)?;
        let text = reader.manifest()?;
        let digest = digest::of_bytes(&text);
        if let Some(expected) = wanted
            && !expected.eq_ignore_ascii_case(&digest)
        {
            return Err(BundleError::WrongDigest {
                expected: expected.to_owned(),
                found: digest,
            });
        }
        let manifest = Manifest::parse_for_travel(&text)?;
        let name = name.unwrap_or(&manifest.kubernetes);
        if !is_plain_name(name) {
            return Err(BundleError::Argument {
                what: "the bundle's name",
                value: name.to_owned(),
                advice: "letters, digits, dots and dashes make one, for example v1.30.1",
            });
        }
        let target = self.0.join(name);
        make_folder(&self.0)?;
        let _alone = self.lock()?;
        let imported = |already| Imported {
            path: target.clone(),
            digest: digest.clone(),
            kubernetes: manifest.kubernetes.clone(),
            etcd: manifest.etcd.clone(),
            arch: manifest.arch.clone(),
            already,
        };
        if fs::symlink_metadata(&target).is_ok() {
            let there = fs::read(target.join(MANIFEST)).ok();
            return match there {
                Some(there) if there == text => Ok(imported(true)),
                _ => Err(taken(&target)),
            };
        }
        let staging = Staging::begin(&target, &text)?;
        match reader.unpack(&staging) {
            Ok(()) => staging.commit()?,
            Err(error) => {
                // The first error is the one to tell; what is left is cleared by the next import.
                let _ = staging.discard();
                return Err(error);
            }
        }
        Ok(imported(false))
    }

    /// The bundles that are there, by name. What has no manifest that makes sense is none.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self) -> Result<Vec<Imported>, BundleError> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(BundleError::file("read", &self.0)(error)),
        };
        let mut found: Vec<_> = entries
            .flatten()
            .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
            .filter_map(|entry| {
                let text = fs::read(entry.path().join(MANIFEST)).ok()?;
                let manifest = Manifest::parse(&text).ok()?;
                Some(Imported {
                    path: entry.path(),
                    digest: digest::of_bytes(&text),
                    kubernetes: manifest.kubernetes,
                    etcd: manifest.etcd,
                    arch: manifest.arch,
                    already: true,
                })
            })
            .collect();
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// One import at a time; the kernel lets go when the process ends.
    fn lock(&self) -> Result<File, BundleError> {
        let folder = File::open(&self.0).map_err(BundleError::file("read", &self.0))?;
        flock(&folder, FlockOperation::LockExclusive)
            .map_err(|error| BundleError::file("lock", &self.0)(error.into()))?;
        Ok(folder)
    }
}
