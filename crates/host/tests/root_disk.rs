//! What a full disk does to a write; needs root to mount a small file system.

use std::path::Path;
use std::process::Command;

use khactl_host::HostError;
use khactl_host::files::{self, Attributes};
use khactl_host::network;

/// A file system of 64 KiB, gone when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "khactl-test"])
            .arg(folder.path())
            .status()
            .unwrap();
        assert!(status.success(), "mounting a tmpfs");
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

#[tokio::test]
async fn write_to_a_full_disk_says_so_and_leaves_the_old_file_alone() {
    let disk = SmallDisk::mount();
    let path = disk.path().join("spec.json");
    files::write(&path, b"old".to_vec(), Attributes::mode(0o600))
        .await
        .unwrap();
    let error = files::write(&path, vec![b'x'; 1 << 20], Attributes::mode(0o600))
        .await
        .unwrap_err();
    assert!(matches!(error, HostError::DiskFull { .. }), "{error}");
    assert_eq!(files::read(&path, 1 << 20).await.unwrap().unwrap(), b"old");
    let names: Vec<_> = std::fs::read_dir(disk.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(
        names,
        ["spec.json"],
        "nothing half written stays and takes room"
    );
    assert!(network::disk_space(disk.path()).unwrap().total <= 64 << 10);
    files::write(&path, b"new".to_vec(), Attributes::mode(0o600))
        .await
        .unwrap();
}
