//! Files that are there whole or not at all, with their mode and owner from the first moment.
//!
//! It never widens access on the way: a file exists as 0600 or less until it has its owner.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::digest;
use crate::error::HostError;
use crate::offload::offload;

/// Numeric owner of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Owner {
    /// root:root.
    pub const ROOT: Self = Self { uid: 0, gid: 0 };
}

/// Mode and owner that a file or folder must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits, for example `0o600`.
    pub mode: u32,
    /// Whose it is; `None` leaves it to whoever runs this.
    pub owner: Option<Owner>,
}

impl Attributes {
    /// Permission bits for a file of one's own.
    pub const fn mode(mode: u32) -> Self {
        Self { mode, owner: None }
    }

    /// Permission bits and owner.
    pub const fn owned(mode: u32, owner: Owner) -> Self {
        Self {
            mode,
            owner: Some(owner),
        }
    }
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    /// SHA-256 of the contents, 64 hexadecimal digits; empty for a folder.
    pub sha256: String,
    /// Bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Whose it is.
    pub owner: Owner,
    /// A folder.
    pub folder: bool,
}

/// Writes `contents` to `path` atomically and durably: after a crash at any moment the old file or
/// the new one is there. The folder must exist.
pub async fn write(
    path: impl Into<PathBuf>,
    contents: Vec<u8>,
    attributes: Attributes,
) -> Result<(), HostError> {
    let path = path.into();
    offload(move || write_now(&path, &contents, attributes)).await
}

/// Makes the folder `path` with its missing parents (0755) and gives it mode and owner, also if it
/// was there with others.
pub async fn ensure_dir(path: impl Into<PathBuf>, attributes: Attributes) -> Result<(), HostError> {
    let path = path.into();
    offload(move || ensure_dir_now(&path, attributes)).await
}

/// Digest, size, mode and owner of what is at `path`; `None` if nothing is. Follows no symlink at
/// the last component.
pub async fn facts(path: impl Into<PathBuf>) -> Result<Option<FileFacts>, HostError> {
    let path = path.into();
    offload(move || facts_now(&path)).await
}

/// Reads a file of `limit` bytes at the most; `None` if it does not exist.
pub async fn read(path: impl Into<PathBuf>, limit: u64) -> Result<Option<Vec<u8>>, HostError> {
    let path = path.into();
    offload(move || read_now(&path, limit)).await
}

/// Removes a file durably. Nothing to remove is no error.
pub async fn remove(path: impl Into<PathBuf>) -> Result<(), HostError> {
    let path = path.into();
    offload(move || remove_now(&path)).await
}

/// Removes a file, or a folder with all in it; of one that something is mounted at only what is in it. Nothing to
/// remove is no error.
pub async fn remove_tree(path: impl Into<PathBuf>) -> Result<(), HostError> {
    let path = path.into();
    offload(move || {
        let fail = |error| HostError::write(&path)(error);
        let folder = match fs::symlink_metadata(&path) {
            Ok(found) => found.is_dir(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(fail(error)),
        };
        if !folder {
            return remove_now(&path);
        }
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && is_empty(&path) => {}
            removed => removed.map_err(fail)?,
        }
        sync_folder(path.parent().unwrap_or(Path::new("/"))).map_err(fail)
    })
    .await
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

pub(crate) fn write_now(
    path: &Path,
    contents: &[u8],
    attributes: Attributes,
) -> Result<(), HostError> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(HostError::write(path)(io::ErrorKind::InvalidInput.into()));
    };
    let fail = |error| HostError::write(path)(error);
    let prefix = format!(".{}.", name.to_string_lossy());
    sweep(folder, &prefix);
    let tag = khactl_sys::entropy::seed().map_err(fail)?;
    let temporary = folder.join(format!("{prefix}{}-{tag:016x}.tmp", std::process::id()));
    let written = fill(&temporary, contents, attributes)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_folder(folder));
    if written.is_err() {
        // Already renamed or never made: either way there is nothing to remove then.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(fail)
}

fn fill(temporary: &Path, contents: &[u8], attributes: Attributes) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(attributes.mode & 0o600)
        .open(temporary)?;
    if let Some(owner) = attributes.owner {
        std::os::unix::fs::fchown(&file, Some(owner.uid), Some(owner.gid))?;
    }
    file.set_permissions(Permissions::from_mode(attributes.mode))?;
    file.write_all(contents)?;
    file.sync_all()
}

/// Removes what a writer that was killed left behind; its process id tells it from one at work.
fn sweep(folder: &Path, prefix: &str) {
    let own = format!("{prefix}{}-", std::process::id());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let leftover = name.starts_with(prefix)
            && Path::new(&*name).extension().is_some_and(|e| e == "tmp")
            && !name.starts_with(&own);
        if leftover {
            // Left for the next writer if it cannot be removed now.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    File::open(folder)?.sync_all()
}

pub(crate) fn ensure_dir_now(path: &Path, attributes: Attributes) -> Result<(), HostError> {
    let fail = |error| HostError::write(path)(error);
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_dir() => {
            return Err(HostError::NotAFolder {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().unwrap_or(Path::new("/"));
            DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)
                .map_err(fail)?;
            match DirBuilder::new().mode(attributes.mode & 0o700).create(path) {
                // Another task made it meanwhile.
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(fail(error));
                }
                _ => sync_folder(parent).map_err(fail)?,
            }
        }
        Err(error) => return Err(fail(error)),
    }
    let found = fs::symlink_metadata(path).map_err(fail)?;
    if let Some(owner) = attributes.owner
        && (found.uid(), found.gid()) != (owner.uid, owner.gid)
    {
        std::os::unix::fs::lchown(path, Some(owner.uid), Some(owner.gid)).map_err(fail)?;
    }
    if found.mode() & 0o7777 != attributes.mode {
        fs::set_permissions(path, Permissions::from_mode(attributes.mode)).map_err(fail)?;
    }
    Ok(())
}

fn facts_now(path: &Path) -> Result<Option<FileFacts>, HostError> {
    let fail = |error| HostError::read(path)(error);
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let sha256 = if found.is_file() {
        digest::of_reader(File::open(path).map_err(fail)?).map_err(fail)?
    } else {
        String::new()
    };
    Ok(Some(FileFacts {
        sha256,
        size: found.len(),
        mode: found.mode() & 0o7777,
        owner: Owner {
            uid: found.uid(),
            gid: found.gid(),
        },
        folder: found.is_dir(),
    }))
}

pub(crate) fn read_now(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, HostError> {
    let fail = |error| HostError::read(path)(error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let size = file.metadata().map_err(fail)?.len();
    let mut contents = Vec::new();
    // One byte more than allowed shows that the file grew past it.
    file.take(limit + 1)
        .read_to_end(&mut contents)
        .map_err(fail)?;
    if contents.len() as u64 > limit {
        return Err(HostError::TooLarge {
            path: path.to_owned(),
            size,
            limit,
        });
    }
    Ok(Some(contents))
}

fn remove_now(path: &Path) -> Result<(), HostError> {
    let fail = |error| HostError::write(path)(error);
    match fs::remove_file(path) {
        Ok(()) => sync_folder(path.parent().unwrap_or(Path::new("/"))).map_err(fail),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(fail(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn written_file_has_contents_mode_and_nothing_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.key");
        write(&path, b"old".to_vec(), Attributes::mode(0o644))
            .await
            .unwrap();
        write(&path, b"abc".to_vec(), Attributes::mode(0o600))
            .await
            .unwrap();
        let facts = facts(&path).await.unwrap().unwrap();
        assert_eq!(facts.sha256, digest::of_bytes(b"abc"));
        assert_eq!((facts.mode, facts.size, facts.folder), (0o600, 3, false));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn leftover_of_a_killed_writer_is_removed_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".spec.999999999-00ff.tmp"), "half").unwrap();
        write(
            folder.path().join("spec"),
            b"x".to_vec(),
            Attributes::mode(0o600),
        )
        .await
        .unwrap();
        let names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, ["spec"]);
    }

    #[tokio::test]
    async fn folder_that_is_too_open_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/pki");
        ensure_dir(&path, Attributes::mode(0o755)).await.unwrap();
        ensure_dir(&path, Attributes::mode(0o700)).await.unwrap();
        let found = facts(&path).await.unwrap().unwrap();
        assert_eq!((found.mode, found.folder), (0o700, true));
    }

    #[tokio::test]
    async fn a_tree_is_removed_with_all_in_it_and_nothing_twice() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("below/deeper")).unwrap();
        fs::write(tree.join("below/file"), "x").unwrap();
        let outside = dir.path().join("outside");
        fs::write(&outside, "x").unwrap();
        std::os::unix::fs::symlink(&outside, tree.join("link")).unwrap();
        for _ in 0..2 {
            remove_tree(&tree).await.unwrap();
            assert!(!tree.exists());
        }
        assert!(outside.exists(), "what a link leads to is somebody else's");
        remove_tree(&outside).await.unwrap();
        assert!(!outside.exists());
    }

    #[tokio::test]
    async fn symlink_in_place_of_a_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pki");
        std::os::unix::fs::symlink("/tmp", &path).unwrap();
        let error = ensure_dir(&path, Attributes::mode(0o700))
            .await
            .unwrap_err();
        assert!(matches!(error, HostError::NotAFolder { .. }), "{error}");
    }

    #[tokio::test]
    async fn full_disk_is_named_and_keeps_the_old_file() {
        let error = HostError::write(Path::new("/x/y"))(io::ErrorKind::StorageFull.into());
        assert!(matches!(error, HostError::DiskFull { .. }));
        assert!(error.to_string().contains("disk is full"), "{error}");
    }

    #[tokio::test]
    async fn missing_and_oversized_files_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        assert_eq!(read(&path, 4).await.unwrap(), None);
        fs::write(&path, "12345").unwrap();
        let error = read(&path, 4).await.unwrap_err();
        assert!(
            matches!(
                error,
                HostError::TooLarge {
                    size: 5,
                    limit: 4,
                    ..
                }
            ),
            "{error}"
        );
        remove(&path).await.unwrap();
        remove(&path).await.unwrap();
        assert_eq!(facts(&path).await.unwrap(), None);
    }
}
