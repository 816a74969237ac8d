//! Where the programs under test and the bundle lie.

use std::path::{Path, PathBuf};

/// `v1.20.2`, the bundle that `make kube` builds, below the cache.
const BUNDLE: &str = "kube/bundles/v1.20.2";

/// The folder with `khad`, `khavip` and `khactl`: KHACTL_PROGRAMS, or where cargo put them when it
/// built this test.
#[track_caller]
pub fn programs_dir() -> PathBuf {
    let dir = match std::env::var_os("KHACTL_PROGRAMS") {
        Some(dir) => PathBuf::from(dir),
        // target/debug/deps/e2e_…
        None => match std::env::current_exe() {
            Ok(test) => test
                .ancestors()
                .nth(2)
                .map(Path::to_owned)
                .unwrap_or_default(),
            Err(error) => panic!("cannot tell where this test lies: {error}"),
        },
    };
    for program in ["khad", "khavip", "khactl"] {
        assert!(
            dir.join(program).is_file(),
            "there is no {program} in {}: run `cargo build --workspace` first",
            dir.display()
        );
    }
    dir
}

/// The bundle: KHACTL_BUNDLE, or what `make kube` built.
#[track_caller]
pub fn bundle() -> PathBuf {
    let bundle = match std::env::var_os("KHACTL_BUNDLE") {
        Some(bundle) => PathBuf::from(bundle),
        None => cache().join(BUNDLE),
    };
    assert!(
        bundle.join("manifest.json").is_file(),
        "there is no bundle in {}: run `make kube` first",
        bundle.display()
    );
    bundle
}

/// Where builds and tests keep what outlives them: KHACTL_CACHE.
pub(crate) fn cache() -> PathBuf {
    match std::env::var_os("KHACTL_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/khactl"),
    }
}
