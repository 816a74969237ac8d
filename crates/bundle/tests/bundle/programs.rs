//! Programs that are none but look so: an ELF header and bytes that no compressor makes small.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use khactl_bundle::{Access, Made, Order, Patience, Source, create, digest, host_arch};

use crate::upstream::Upstream;

pub(crate) const KUBERNETES: [&str; 4] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
];
pub(crate) const ETCD: [&str; 3] = ["etcd", "etcdctl", "etcdutl"];
/// Large enough to break off in the middle of, in several reads.
pub(crate) const SIZE: usize = 700_000;

/// The program of that name for that processor; always the same bytes.
pub(crate) fn program(name: &str, arch: &str) -> Vec<u8> {
    let machine: u16 = if arch == "amd64" { 62 } else { 183 };
    let mut bytes = vec![0; 20];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[18..].copy_from_slice(&machine.to_le_bytes());
    // A generator of Marsaglia's, seeded with the name.
    let seed = name
        .bytes()
        .fold(1u64, |seed, byte| seed.wrapping_mul(31) + u64::from(byte));
    let mut state = seed;
    while bytes.len() < SIZE {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// `/release/v1.30.1/bin/linux/ARCH/NAME`
pub(crate) fn path(name: &str, arch: &str) -> String {
    format!("/release/v1.30.1/bin/linux/{arch}/{name}")
}

pub(crate) const ETCD_RELEASE: &str = "/etcd-io/etcd/releases/download/v3.5.16";

/// A site with everything of two versions.
pub(crate) fn site(arch: &str) -> Upstream {
    let site = Upstream::start();
    for name in KUBERNETES {
        let bytes = program(name, arch);
        site.put(&path(name, arch), &bytes);
        let sum = digest::of_bytes(&bytes);
        site.put(&format!("{}.sha256", path(name, arch)), sum.as_bytes());
    }
    let top = format!("etcd-v3.5.16-linux-{arch}");
    let archive = tar_gz(ETCD.map(|name| (format!("{top}/{name}"), program(name, arch))));
    site.put(&format!("{ETCD_RELEASE}/{top}.tar.gz"), &archive);
    let sums = format!(
        "{}  other.zip\n{}  {top}.tar.gz\n",
        "0".repeat(64),
        digest::of_bytes(&archive)
    );
    site.put(&format!("{ETCD_RELEASE}/SHA256SUMS"), sums.as_bytes());
    site
}

pub(crate) fn tar_gz(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // `set_path` refuses what these tests are about.
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, bytes.as_slice()).unwrap();
    }
    let mut zip = tar.into_inner().unwrap();
    zip.flush().unwrap();
    zip.finish().unwrap()
}

pub(crate) fn order(source: Source, out: PathBuf) -> Order {
    Order {
        kubernetes: "1.30.1".to_owned(),
        etcd: "v3.5.16".to_owned(),
        arch: host_arch().to_owned(),
        source,
        access: Access::default(),
        out,
        patience: Patience {
            tries: 3,
            pause: Duration::from_millis(1),
        },
    }
}

/// A bundle of this host's processor, made from a folder.
pub(crate) fn bundle(dir: &Path) -> Made {
    let folder = dir.join("programs");
    std::fs::create_dir_all(&folder).unwrap();
    for name in KUBERNETES.into_iter().chain(ETCD) {
        std::fs::write(folder.join(name), program(name, host_arch())).unwrap();
    }
    create(
        &order(Source::Folder(folder), dir.join("bundle.tar.gz")),
        &mut |_| {},
    )
    .unwrap()
}
