//! Gives what is appended to a log as it comes, also across its rotation.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;

use crate::error::HostError;

/// What one call gives at the most.
const CHUNK_BYTES: usize = 64 * 1024;

/// A log being followed from where it ended at the beginning.
pub struct Follow {
    path: PathBuf,
    changes: AsyncFd<OwnedFd>,
    offset: u64,
}

/// Follows the log of `component` in `dir` from its present end; it may come to exist later.
pub fn follow(dir: &Path, component: &str) -> Result<Follow, HostError> {
    let path = super::path(dir, component);
    let watch = || -> io::Result<AsyncFd<OwnedFd>> {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        // The folder rather than the file, which may not be there yet.
        let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE;
        inotify::add_watch(&fd, dir, flags)?;
        khactl_sys::readable::readable(fd)
    };
    let changes = watch().map_err(HostError::read(dir))?;
    let offset = std::fs::metadata(&path).map_or(0, |found| found.len());
    Ok(Follow {
        path,
        changes,
        offset,
    })
}

impl Follow {
    /// The next bytes, as soon as there are some; never empty. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Vec<u8>, HostError> {
        loop {
            let chunk = self.read().map_err(HostError::read(&self.path))?;
            if !chunk.is_empty() {
                return Ok(chunk);
            }
            self.changed().await.map_err(HostError::read(&self.path))?;
        }
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        // Truncated by a rotation: what follows is new.
        if file.metadata()?.len() < self.offset {
            self.offset = 0;
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut chunk = Vec::new();
        file.take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        self.offset += chunk.len() as u64;
        Ok(chunk)
    }

    /// Waits until something in the folder has changed, and forgets what it was: reading the file
    /// tells.
    async fn changed(&self) -> io::Result<()> {
        let mut ready = self.changes.readable().await?;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(self.changes.get_ref(), &mut buffer);
        loop {
            match reader.next() {
                Ok(_) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        ready.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::time::Duration;

    async fn next(follow: &mut Follow) -> String {
        let chunk = tokio::time::timeout(Duration::from_secs(10), follow.next())
            .await
            .unwrap()
            .unwrap();
        String::from_utf8(chunk).unwrap()
    }

    #[tokio::test]
    async fn followed_log_gives_what_comes_also_after_its_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let mut follow = follow(dir.path(), "etcd").unwrap();
        let log = super::super::path(dir.path(), "etcd");
        let mut writer = super::super::open(&log, 0).unwrap();
        writer.write_all(b"first\n").unwrap();
        assert_eq!(next(&mut follow).await, "first\n");
        super::super::rotate_now(dir.path(), 1).unwrap();
        writer.write_all(b"2nd\n").unwrap();
        assert_eq!(next(&mut follow).await, "2nd\n");
    }

    #[tokio::test]
    async fn what_was_there_before_is_not_given() {
        let dir = tempfile::tempdir().unwrap();
        let log = super::super::path(dir.path(), "etcd");
        std::fs::write(&log, "old\n").unwrap();
        let mut follow = follow(dir.path(), "etcd").unwrap();
        super::super::open(&log, 0)
            .unwrap()
            .write_all(b"new\n")
            .unwrap();
        assert_eq!(next(&mut follow).await, "new\n");
    }
}
