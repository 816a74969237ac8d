//! Gathers what a host shows of itself before it runs a control plane, and how it reaches others. It changes nothing but
//! a file of its own that is gone again, and judges nothing: `khactl_plan::preflight` does.

mod cgroups;
mod clock;
mod disk_sync;
mod echo;
mod leftovers;
mod names;
mod paths;
mod swap;

use khactl_model::preflight::{CgroupFacts, ClockFacts, Leftovers, SwapArea};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

pub use disk_sync::disk_sync;
pub use names::names;
pub use paths::{Tried, path};

use crate::offload::offload;
use crate::procfs;

/// Of a file that somebody else wrote.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// What the files of a machine and its processes tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The kernel's release.
    pub kernel: String,
    /// The cgroups that components could have.
    pub cgroups: CgroupFacts,
    /// Where memory is moved to.
    pub swap: Vec<SwapArea>,
    /// Who keeps the clock right.
    pub clock: ClockFacts,
    /// What others have left.
    pub leftovers: Leftovers,
}

/// Looks at the machine whose root is that folder: `/`, or in a test another one. Processes and the kernel are those
/// that there are.
pub async fn look(machine: PathBuf) -> Seen {
    offload(move || Seen {
        kernel: kernel_release(),
        cgroups: cgroups::facts(&machine),
        swap: swap::areas(&machine),
        clock: clock::facts(&machine, &procfs::names()),
        leftovers: leftovers::facts(&machine, &procfs::names_in_own_network()),
    })
    .await
}

fn kernel_release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

/// A path as the machine itself calls it.
fn shown(machine: &Path, path: &Path) -> String {
    let below = path.strip_prefix(machine).unwrap_or(path);
    Path::new("/").join(below).display().to_string()
}

/// The files of a folder, by name; none if it is not there.
fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// The beginning of a text file; empty if it is not there. No configuration is longer.
fn text_of(file: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = fs::File::open(file) {
        // What was read before an error is as good as nothing more.
        let _ = file.take(TEXT_BYTES_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_empty_machine_has_nothing_and_a_kernel_all_the_same() {
        let machine = tempfile::tempdir().unwrap();
        let seen = look(machine.path().to_owned()).await;
        assert_eq!(seen.cgroups, CgroupFacts::default());
        assert!(seen.swap.is_empty());
        assert_eq!(seen.clock.chrony_slew_ppm, None);
        assert!(seen.leftovers.static_pods.is_empty());
        assert!(seen.kernel.starts_with(|c: char| c.is_ascii_digit()));
    }
}
