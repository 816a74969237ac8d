//! A host's disk on the machine: the folders that outlive its power cuts.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{LabError, Result};

/// The folders under `/var/lib/khactl-lab/<lab>/<host>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folders {
    root: PathBuf,
}

impl Folders {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// `/var/lib/khactl` of the host.
    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// `/var/log/khactl` of the host.
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// `/etc/khactl` of the host.
    pub(crate) fn etc(&self) -> PathBuf {
        self.root.join("etc")
    }

    /// Makes what is missing; a disk that is there stays as it is.
    pub(crate) fn create(&self) -> Result<()> {
        // The machine's secrets may lie below: nobody else may pass.
        folder(&self.root, 0o700)?;
        folder(&self.data(), 0o711)?;
        folder(&self.log(), 0o755)?;
        folder(&self.etc(), 0o755)?;
        // The host's changes to `/etc`; the boot fills it.
        folder(&self.root.join("system-etc"), 0o755)
    }
}

/// Makes one folder with its parents, if it is not there.
pub(crate) fn folder(path: &Path, mode: u32) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(LabError::file("make", path))
}

/// Removes a folder with all in it, if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LabError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}
