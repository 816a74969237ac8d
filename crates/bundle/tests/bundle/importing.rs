//! Taking bundles in: whole and as they were made, or not at all.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use khactl_bundle::{BundleError, Store, digest, host_arch};

use crate::programs::{bundle, program, tar_gz};

fn store(dir: &Path) -> Store {
    Store::new(dir.join("store"))
}

/// What lies in the store, staging folders too.
fn left(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir.join("store")).map_or(Vec::new(), |all| {
        all.flatten().map(|entry| entry.path()).collect()
    })
}

/// A bundle's file of these parts, refused.
fn refused(parts: impl IntoIterator<Item = (String, Vec<u8>)>) -> BundleError {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("b.tar.gz");
    fs::write(&file, tar_gz(parts)).unwrap();
    refused_file(dir.path(), &file)
}

fn refused_file(dir: &Path, file: &Path) -> BundleError {
    let error = store(dir).import(file, None, None).unwrap_err();
    assert_eq!(left(dir), [""; 0].map(PathBuf::from), "{error}");
    error
}

fn manifest(arch: &str, size: usize) -> (String, Vec<u8>) {
    let text = serde_json::json!({
        "kubernetes": "v1.30.1", "etcd": "3.5.16", "arch": arch,
        "programs": {"etcd": {
            "file": "etcd", "version": "3.5.16", "size": size,
            "sha256": digest::of_bytes(&program("etcd", arch)),
        }},
    });
    ("manifest.json".to_owned(), text.to_string().into_bytes())
}

fn etcd(name: &str) -> (String, Vec<u8>) {
    (name.to_owned(), program("etcd", host_arch()))
}

fn whole() -> (String, Vec<u8>) {
    manifest(host_arch(), program("etcd", host_arch()).len())
}

#[test]
fn a_bundle_comes_to_lie_whole_under_its_version_and_twice_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let made = bundle(dir.path());
    let store = store(dir.path());
    let imported = store.import(&made.path, None, Some(&made.digest)).unwrap();
    assert_eq!(imported.path, dir.path().join("store/v1.30.1"));
    assert_eq!(
        (imported.digest.as_str(), imported.already),
        (made.digest.as_str(), false)
    );
    for name in ["etcd", "kube-apiserver"] {
        let path = imported.path.join(name);
        assert_eq!(fs::read(&path).unwrap(), program(name, host_arch()));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o755
        );
    }
    assert!(store.import(&made.path, None, None).unwrap().already);
    assert_eq!(left(dir.path()), std::slice::from_ref(&imported.path));
    let listed = store.list().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0].path, &listed[0].digest),
        (&imported.path, &made.digest)
    );

    let other = store.import(&made.path, Some("other"), None).unwrap();
    assert_eq!(other.path, dir.path().join("store/other"));
    let refused = store.import(&made.path, Some("../out"), None).unwrap_err();
    assert_eq!(refused.code(), "KHA1201");
}

#[test]
fn another_digest_than_the_wanted_one_is_refused_before_anything_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let made = bundle(dir.path());
    let wanted = "0".repeat(64);
    let error = store(dir.path())
        .import(&made.path, None, Some(&wanted))
        .unwrap_err();
    assert_eq!(error.code(), "KHA1212");
    assert!(!dir.path().join("store").exists());
}

#[test]
fn a_name_that_another_bundle_has_is_not_taken_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let made = bundle(dir.path());
    let there = dir.path().join("store/v1.30.1");
    fs::create_dir_all(&there).unwrap();
    fs::write(there.join("manifest.json"), "another").unwrap();
    let error = store(dir.path())
        .import(&made.path, None, None)
        .unwrap_err();
    assert_eq!(error.code(), "KHA1213");
    assert_eq!(fs::read(there.join("manifest.json")).unwrap(), b"another");
    assert_eq!(left(dir.path()), [there]);
}

#[test]
fn a_bundle_that_was_cut_off_anywhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let made = bundle(dir.path());
    let whole = fs::read(&made.path).unwrap();
    let file = dir.path().join("cut.tar.gz");
    // Also without gzip's own checksum alone, with every program there.
    for length in [
        0,
        5,
        1000,
        whole.len() / 2,
        whole.len() - 9,
        whole.len() - 1,
    ] {
        fs::write(&file, &whole[..length]).unwrap();
        let code = refused_file(dir.path(), &file).code();
        assert_eq!(code, "KHA1207", "{length} of {}", whole.len());
    }
    let mut more = whole;
    more.extend_from_slice(b"more");
    fs::write(&file, &more).unwrap();
    assert_eq!(refused_file(dir.path(), &file).code(), "KHA1208");
}

#[test]
fn an_altered_program_is_refused_whoever_packed_it_again() {
    let mut bytes = program("etcd", host_arch());
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let error = refused([whole(), ("etcd".to_owned(), bytes.clone())]);
    assert_eq!(error.code(), "KHA1210");
    assert!(
        error.to_string().contains(&digest::of_bytes(&bytes)),
        "{error}"
    );
    bytes.pop();
    assert_eq!(
        refused([whole(), ("etcd".to_owned(), bytes)]).code(),
        "KHA1210"
    );
}

#[test]
fn altered_bytes_of_the_file_itself_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let made = bundle(dir.path());
    let whole = fs::read(&made.path).unwrap();
    let file = dir.path().join("altered.tar.gz");
    for at in [whole.len() / 3, whole.len() / 2, whole.len() - 6] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&file, &bytes).unwrap();
        let code = refused_file(dir.path(), &file).code();
        assert!(
            ["KHA1207", "KHA1208", "KHA1210"].contains(&code),
            "{code} at {at}"
        );
    }
}

#[test]
fn a_bundle_and_a_program_for_another_processor_are_refused() {
    let other = if host_arch() == "amd64" {
        "arm64"
    } else {
        "amd64"
    };
    let size = program("etcd", other).len();
    let foreign = ("etcd".to_owned(), program("etcd", other));
    let error = refused([manifest(other, size), foreign.clone()]);
    assert_eq!(error.code(), "KHA1211");
    assert!(error.to_string().contains(other), "{error}");

    // A manifest that tells a lie about its programs.
    let (name, text) = manifest(other, size);
    let lie = String::from_utf8(text).unwrap().replace(other, host_arch());
    assert_eq!(
        refused([(name, lie.into_bytes()), foreign]).code(),
        "KHA1211"
    );
}

#[test]
fn paths_that_lead_elsewhere_strangers_and_doubles_are_refused() {
    for name in [
        "../etcd",
        "/tmp/etcd",
        "./etcd",
        "etcd/",
        "sub/etcd",
        "other",
    ] {
        let error = refused([whole(), etcd(name)]);
        assert_eq!(error.code(), "KHA1208", "{name}: {error}");
    }
    assert_eq!(
        refused([whole(), etcd("etcd"), etcd("etcd")]).code(),
        "KHA1208"
    );
    assert_eq!(refused([whole(), whole()]).code(), "KHA1208");
    assert_eq!(refused([whole()]).code(), "KHA1207");
    assert_eq!(refused([etcd("etcd"), whole()]).code(), "KHA1207");
}

#[test]
fn links_and_devices_are_refused() {
    for kind in [
        tar::EntryType::Symlink,
        tar::EntryType::Link,
        tar::EntryType::Char,
        tar::EntryType::Fifo,
        tar::EntryType::Directory,
        tar::EntryType::GNUSparse,
    ] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("b.tar");
        let zip = flate2::write::GzEncoder::new(
            fs::File::create(&file).unwrap(),
            flate2::Compression::fast(),
        );
        let mut tar = tar::Builder::new(zip);
        let mut append = |name: &str, kind, bytes: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(kind);
            header.set_size(bytes.len() as u64);
            if kind != tar::EntryType::Regular {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_path(name).unwrap();
            header.set_cksum();
            tar.append(&header, bytes).unwrap();
        };
        append("manifest.json", tar::EntryType::Regular, &whole().1);
        append("etcd", kind, b"");
        tar.into_inner().unwrap().finish().unwrap();
        let code = refused_file(dir.path(), &file).code();
        assert!(["KHA1207", "KHA1208"].contains(&code), "{kind:?}: {code}");
    }
}

#[test]
fn what_a_killed_import_left_does_not_disturb_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let made = bundle(dir.path());
    let own = format!(".v1.30.1.{}.partial", &made.digest[..16]);
    for leftover in [own.as_str(), ".v1.30.1.0123456789abcdef.partial"] {
        let folder = dir.path().join("store").join(leftover);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("etcd"), "half").unwrap();
    }
    let imported = store(dir.path()).import(&made.path, None, None).unwrap();
    assert_eq!(left(dir.path()), [imported.path]);
}

#[test]
fn what_an_agent_takes_in_with_a_narrow_umask_can_be_run_by_the_components_users() {
    let dir = tempfile::tempdir().unwrap();
    let made = bundle(dir.path());
    // As khad's unit has it.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let imported = store(dir.path()).import(&made.path, None, None).unwrap();
    for path in [
        dir.path().join("store"),
        imported.path.join("etcd"),
        imported.path,
    ] {
        let found = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, 0o755, "{}", path.display());
    }
}
