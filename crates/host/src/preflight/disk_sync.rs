//! How long small writes take until the disk has them: what etcd's log and the agents' do before every answer.

use khactl_model::preflight::SyncFacts;
use khactl_sys::clock;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use crate::error::HostError;
use crate::offload::offload;

/// What etcd's log writes at once on the average, by its own guide.
const BLOCK_BYTES: usize = 2_300;
/// Enough for a figure that holds for 99 of 100.
const WRITES: usize = 200;
/// A disk that is slower has told enough by then; people wait.
const PATIENCE: Duration = Duration::from_secs(2);
/// Fewer say nothing.
const WRITES_MIN: usize = 20;
/// statfs(2), TMPFS_MAGIC.
const TMPFS: i64 = 0x0102_1994;

/// Writes into a file of its own in that folder, or the nearest one above that there is, some 200 times; it takes two
/// seconds at the most on a disk that takes a write within 100 ms. The file has no name while it is written, so that a crash leaves none.
pub async fn disk_sync(folder: &Path) -> Result<SyncFacts, HostError> {
    let folder = folder.to_owned();
    offload(move || measure(&folder)).await
}

fn measure(folder: &Path) -> Result<SyncFacts, HostError> {
    let folder = folder
        .ancestors()
        .find(|folder| folder.is_dir())
        .unwrap_or(Path::new("/"));
    let path = folder.join(format!(".khactl-sync-{}", std::process::id()));
    // Of a khad of the same number that was killed between the next two calls.
    let _ = fs::remove_file(&path);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(HostError::write(&path))?;
    // Without its name it ends with its last descriptor.
    fs::remove_file(&path).map_err(HostError::write(&path))?;
    let volatile = rustix::fs::fstatfs(&file).is_ok_and(|found| found.f_type == TMPFS);
    let block = [0x5a; BLOCK_BYTES];
    let mut times = Vec::with_capacity(WRITES);
    let start = clock::monotonic();
    while times.len() < WRITES {
        let before = clock::monotonic();
        if times.len() >= WRITES_MIN && before.saturating_sub(start) > PATIENCE {
            break;
        }
        file.write_all(&block).map_err(HostError::write(&path))?;
        file.sync_data().map_err(HostError::write(&path))?;
        times.push(clock::monotonic().saturating_sub(before));
    }
    Ok(facts(folder, volatile, times))
}

fn facts(folder: &Path, volatile: bool, mut times: Vec<Duration>) -> SyncFacts {
    times.sort_unstable();
    let of_hundred = |part: usize| {
        let rank = (times.len() * part).div_ceil(100);
        let time = times.get(rank.saturating_sub(1)).copied();
        u64::try_from(time.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
    };
    SyncFacts {
        folder: folder.display().to_string(),
        volatile,
        writes: u32::try_from(times.len()).unwrap_or(u32::MAX),
        p50_us: of_hundred(50),
        p99_us: of_hundred(99),
        max_us: of_hundred(100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn writes_are_measured_and_leave_nothing_behind() {
        let data = tempfile::tempdir().unwrap();
        let found = disk_sync(&data.path().join("not/yet")).await.unwrap();
        assert_eq!(found.folder, data.path().display().to_string());
        assert!(found.writes >= 20, "{found:?}");
        assert!(found.p50_us <= found.p99_us && found.p99_us <= found.max_us);
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_figure_for_99_of_100_leaves_out_one_of_100() {
        let times = |slow: u64| {
            let quick = (1..=200 - slow).map(Duration::from_micros);
            let slow = (0..slow).map(|_| Duration::from_secs(1));
            facts(Path::new("/data"), false, slow.chain(quick).collect())
        };
        assert_eq!((times(2).p50_us, times(2).p99_us), (100, 198));
        assert_eq!((times(3).p99_us, times(3).max_us), (1_000_000, 1_000_000));
        assert_eq!(facts(Path::new("/"), false, Vec::new()).p99_us, 0);
    }
}
