//! A bundle of a test's own, which may be spoilt.

use std::fs;

use crate::programs;

/// A copy of the bundle in a temporary folder, at the same path on the machine and inside every host.
/// What is not spoilt is shared with the bundle itself.
#[derive(Debug)]
pub struct BundleCopy {
    folder: tempfile::TempDir,
}

impl BundleCopy {
    /// Copies the bundle.
    #[track_caller]
    pub fn make() -> Self {
        let folder = made(tempfile::tempdir());
        for entry in made(fs::read_dir(programs::bundle())).flatten() {
            let copy = folder.path().join(entry.file_name());
            // Another file system cannot share.
            if fs::hard_link(entry.path(), &copy).is_err() {
                made(fs::copy(entry.path(), &copy));
            }
        }
        Self { folder }
    }

    /// Its path.
    pub fn path(&self) -> String {
        self.folder.path().to_string_lossy().into_owned()
    }

    /// Takes a program out of it.
    #[track_caller]
    pub fn remove(&self, program: &str) {
        made(fs::remove_file(self.folder.path().join(program)));
    }

    /// Changes one byte in the middle of a program.
    #[track_caller]
    pub fn alter(&self, program: &str) {
        let path = self.folder.path().join(program);
        let mut bytes = made(fs::read(&path));
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        // A new file: the old one may be the bundle's own.
        made(fs::remove_file(&path));
        made(fs::write(&path, bytes));
        let mode = made(fs::metadata(programs::bundle().join(program))).permissions();
        made(fs::set_permissions(&path, mode));
    }
}

#[track_caller]
fn made<T>(result: std::io::Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("cannot make a copy of the bundle: {error}"),
    }
}
