//! A bundle of a test's own, which may be spoilt.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::programs;

const MANIFEST: &str = "manifest.json";

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

    /// Puts another program in the place of one, and into the manifest: to whoever verifies it this is the right one.
    #[track_caller]
    pub fn replace(&self, program: &str, by: &Path) {
        let folder = self.folder.path();
        // Components run as users of their own.
        made(fs::set_permissions(
            folder,
            PermissionsExt::from_mode(0o755),
        ));
        let file = folder.join(program);
        made(fs::remove_file(&file));
        made(fs::copy(by, &file));
        made(fs::set_permissions(&file, PermissionsExt::from_mode(0o755)));
        let printed = made(Command::new("sha256sum").arg(&file).output()).stdout;
        let printed = String::from_utf8_lossy(&printed);
        let path = folder.join(MANIFEST);
        let text = made(fs::read_to_string(&path));
        let mut manifest: Value = made(serde_json::from_str(&text).map_err(Into::into));
        let entry = &mut manifest["programs"][program];
        entry["sha256"] = json!(printed.split(' ').next());
        entry["size"] = json!(made(fs::metadata(&file)).len());
        made(fs::remove_file(&path));
        made(fs::write(&path, manifest.to_string()));
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
