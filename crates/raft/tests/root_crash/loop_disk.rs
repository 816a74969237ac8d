//! A small ext4 of its own, in a file. Needs root.
//!
//! Unmounted and detached when dropped; what a killed run left behind is swept by the next.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Names carry the owner's process id: the sweep must leave running tests alone.
const PREFIX: &str = "khactl-disk-";

/// A mounted ext4 and the file under it.
#[derive(Debug)]
pub(crate) struct LoopDisk {
    folder: PathBuf,
    device: String,
}

fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "{program} {} failed: {}",
            args.join(" "),
            said.trim()
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

fn image(folder: &Path) -> PathBuf {
    folder.join("image")
}

fn mount_point(folder: &Path) -> PathBuf {
    folder.join("mnt")
}

impl LoopDisk {
    /// A fresh file system of `mib` MiB; sparse.
    pub(crate) fn create(name: &str, mib: u64) -> Self {
        let folder = Self::folder(name);
        let image = image(&folder);
        File::create(&image)
            .and_then(|file| file.set_len(mib * 1024 * 1024))
            .expect("a sparse image");
        run(
            "mkfs.ext4",
            &[
                "-q",
                "-F",
                "-m",
                "0",
                "-E",
                "lazy_itable_init=0",
                text(&image),
            ],
        )
        .expect("mkfs.ext4");
        Self::mount(folder)
    }

    /// A copy of this disk as a power cut at this moment would leave it: what lies in the
    /// backing file, without what the file system only has in memory. It is mounted, which
    /// replays its journal.
    pub(crate) fn after_power_cut(&self, name: &str) -> Self {
        let folder = Self::folder(name);
        // The kernel may write in the background while the file is copied; such a copy is of
        // no moment that ever was. Nothing else writes here, so that a few tries suffice.
        for _ in 0..50 {
            let before = self.sectors_written();
            let (from, to) = (image(&self.folder), image(&folder));
            run("cp", &["--sparse=always", text(&from), text(&to)]).expect("copying the image");
            if self.sectors_written() == before {
                return Self::mount(folder);
            }
        }
        panic!("{} is written to without end", self.device);
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        mount_point(&self.folder)
    }

    fn folder(name: &str) -> PathBuf {
        sweep();
        let name = format!("{PREFIX}{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(mount_point(&folder)).expect("a folder for the disk");
        folder
    }

    fn mount(folder: PathBuf) -> Self {
        let image = image(&folder);
        let device = run("losetup", &["--find", "--show", text(&image)]).expect("losetup");
        let disk = Self { folder, device };
        // The journal is committed by fsync alone, as far as a setting can bring that about.
        run(
            "mount",
            &[
                "-t",
                "ext4",
                "-o",
                "commit=300",
                &disk.device,
                text(&disk.path()),
            ],
        )
        .expect("mount");
        disk
    }

    fn sectors_written(&self) -> String {
        let name = self.device.trim_start_matches("/dev/");
        let stat = fs::read_to_string(format!("/sys/block/{name}/stat")).expect("block statistics");
        stat.split_whitespace()
            .nth(6)
            .expect("sectors written")
            .to_owned()
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        release(&self.folder, &self.device);
    }
}

/// Unmounts, detaches, deletes; says what it could not do.
fn release(folder: &Path, device: &str) {
    let mount = mount_point(folder);
    // A process that was just killed may hold it for another moment.
    for _ in 0..100 {
        if !mounted(&mount) || run("umount", &[text(&mount)]).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    if let Err(error) = run("losetup", &["--detach", device]) {
        eprintln!("{error}");
    }
    if mounted(&mount) {
        eprintln!("{} is still mounted", mount.display());
    } else if let Err(error) = fs::remove_dir_all(folder) {
        eprintln!("{} stays: {error}", folder.display());
    }
}

fn mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .any(|line| line.split(' ').nth(1) == path.to_str())
}

/// Releases the disks of test processes that are gone.
fn sweep() {
    let listed = run(
        "losetup",
        &["--list", "--noheadings", "--output", "NAME,BACK-FILE"],
    );
    let devices = listed.unwrap_or_default();
    for entry in fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        let Some(owner) = owner else { continue };
        if Path::new("/proc").join(owner).exists() {
            continue;
        }
        let folder = entry.path();
        let image = image(&folder);
        let device = devices
            .lines()
            .find(|line| line.contains(text(&image)))
            .and_then(|line| line.split_whitespace().next());
        match device {
            Some(device) => release(&folder, device),
            None => drop(fs::remove_dir_all(&folder)),
        }
    }
}
