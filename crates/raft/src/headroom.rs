//! Free space on the store's disk.
//!
//! A store that meets a full disk in the middle of a write cannot go on without a restart
//! (RocksDB and openraft both stop for good), so nothing new is accepted well before that:
//! then the agent keeps running, says why, and goes on by itself once there is room.

use std::path::{Path, PathBuf};

use crate::Error;

/// Watches the file system under one folder.
#[derive(Debug, Clone)]
pub(crate) struct Headroom {
    path: PathBuf,
    reserve: u64,
}

impl Headroom {
    pub(crate) fn new(path: &Path, reserve: u64) -> Self {
        Self {
            path: path.to_owned(),
            reserve,
        }
    }

    /// Refuses unless `bytes` more fit and the reserve stays free. One system call.
    pub(crate) fn check(&self, bytes: usize) -> Result<(), Error> {
        let stat = rustix::fs::statvfs(&self.path).map_err(|source| Error::Headroom {
            path: self.path.clone(),
            source: source.into(),
        })?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let need = self.reserve.saturating_add(bytes as u64);
        if free < need {
            return Err(Error::DiskFull {
                path: self.path.clone(),
                free,
                need,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_refused_when_the_reserve_would_be_touched() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert!(Headroom::new(dir.path(), 0).check(1).is_ok());
        let full = Headroom::new(dir.path(), u64::MAX).check(1);
        assert!(
            matches!(full, Err(Error::DiskFull { need: u64::MAX, .. })),
            "{full:?}"
        );
    }

    #[test]
    fn a_missing_folder_is_named() {
        let gone = Headroom::new(Path::new("/nonexistent/raft"), 0).check(1);
        let text = gone.expect_err("there is no such folder").to_string();
        assert!(text.contains("/nonexistent/raft"), "{text}");
    }
}
