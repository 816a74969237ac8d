//! What a host holds, to tell that a refusal changed nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use khactl_lab::LabHost;

/// Every file below a host's data folder, its processes and its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Mode and content, by path.
    files: BTreeMap<PathBuf, (u32, Vec<u8>)>,
    processes: Vec<String>,
    addresses: Vec<String>,
}

impl Trace {
    /// Looks at the host.
    #[track_caller]
    pub fn of(host: &LabHost) -> Self {
        let mut files = BTreeMap::new();
        let root = host.data_dir();
        collect(&root, &root, &mut files);
        let mut processes: Vec<_> = host
            .processes()
            .into_iter()
            .map(|process| process.name)
            .collect();
        processes.sort();
        let mut addresses: Vec<_> = host
            .addresses()
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect();
        addresses.sort();
        Self {
            files,
            processes,
            addresses,
        }
    }

    /// The same without one file, for what a host may keep for its next try.
    #[must_use]
    pub fn without(mut self, path: &str) -> Self {
        self.files.remove(Path::new(path));
        self
    }

    /// Panics, naming what differs, unless both are the same.
    #[track_caller]
    pub fn assert_same(&self, before: &Self, after_what: &str) {
        let changed: Vec<_> = self
            .files
            .keys()
            .chain(before.files.keys())
            .filter(|path| self.files.get(*path) != before.files.get(*path))
            .collect();
        assert!(changed.is_empty(), "{after_what} changed {changed:?}");
        assert_eq!(self.processes, before.processes, "{after_what}: processes");
        assert_eq!(self.addresses, before.addresses, "{after_what}: addresses");
    }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => panic!("cannot read {}: {error}", folder.display()),
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        let inside = path.strip_prefix(root).unwrap_or(&path).to_owned();
        if meta.is_dir() {
            files.insert(inside, (meta.mode(), Vec::new()));
            collect(root, &path, files);
        } else {
            files.insert(inside, (meta.mode(), fs::read(&path).unwrap_or_default()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files_of(root: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let mut files = BTreeMap::new();
        collect(root, root, &mut files);
        files
    }

    #[test]
    fn a_changed_byte_and_a_new_folder_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "1").unwrap();
        let before = files_of(folder.path());
        assert_eq!(before, files_of(folder.path()));
        fs::write(folder.path().join("a"), "2").unwrap();
        assert_ne!(before, files_of(folder.path()));
        fs::write(folder.path().join("a"), "1").unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        assert_ne!(before, files_of(folder.path()));
    }
}
