//! A host's certificates and keys, judged by openssl and by the file system.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use khactl_lab::LabHost;

/// Panics unless every leaf below the host's `pki` chains to an authority that lies there too, and no
/// key can be read by anyone but its owner, in a folder that nobody else may enter. Gives the number
/// of leaves.
#[track_caller]
pub fn check_pki(host: &LabHost) -> usize {
    let pki = host.data_dir().join("pki");
    let files = files_below(&pki);
    let certificates: Vec<_> = files
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "crt"))
        .collect();
    let (authorities, leaves): (Vec<&PathBuf>, Vec<&PathBuf>) = certificates
        .into_iter()
        .partition(|file| is_authority(file));
    let together = match tempfile::NamedTempFile::new() {
        Ok(file) => file,
        Err(error) => panic!("no temporary file: {error}"),
    };
    let mut text = String::new();
    for authority in authorities {
        text.push_str(&fs::read_to_string(authority).unwrap_or_default());
    }
    assert!(fs::write(together.path(), text).is_ok(), "the disk is full");
    for leaf in &leaves {
        let verdict = openssl(&["verify", "-CAfile", &shown(together.path()), &shown(leaf)]);
        assert!(verdict.ends_with(": OK\n"), "{}: {verdict}", host.name());
    }
    for file in &files {
        if holds_secret(file) {
            check_secret(file);
        }
    }
    leaves.len()
}

fn check_secret(file: &Path) {
    let mode = |path: &Path| match fs::metadata(path) {
        Ok(meta) => (meta.mode() & 0o7777, meta.uid()),
        Err(error) => panic!("{}: {error}", path.display()),
    };
    let (file_mode, owner) = mode(file);
    assert_eq!(file_mode, 0o600, "mode of {}", file.display());
    let folder = file.parent().unwrap_or(file);
    let (folder_mode, folder_owner) = mode(folder);
    assert_eq!(folder_mode, 0o700, "mode of {}", folder.display());
    assert_eq!(owner, folder_owner, "owner of {}", file.display());
    let of_root = ["khad", "khavip"].map(Some);
    let component = folder.file_name().and_then(|name| name.to_str());
    assert_eq!(
        owner == 0,
        of_root.contains(&component),
        "{} belongs to user {owner}",
        file.display()
    );
}

/// A key in PEM, whatever the file's name, or khactl's own sealing key.
fn holds_secret(file: &Path) -> bool {
    let bytes = fs::read(file).unwrap_or_default();
    String::from_utf8_lossy(&bytes).contains("PRIVATE KEY")
        || file.extension().is_some_and(|extension| extension == "key")
}

fn is_authority(certificate: &Path) -> bool {
    openssl(&["x509", "-noout", "-text", "-in", &shown(certificate)]).contains("CA:TRUE")
}

fn openssl(arguments: &[&str]) -> String {
    match Command::new("openssl").args(arguments).output() {
        Ok(output) => format!(
            "{}{}",
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout)
        ),
        Err(error) => panic!("cannot run openssl: {error}"),
    }
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => panic!("cannot read {}: {error}", folder.display()),
    };
    let mut files = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}
