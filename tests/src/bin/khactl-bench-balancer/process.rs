//! What a process has taken of the machine, as the kernel tells it.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// Processor time of all its threads, in nanoseconds by the scheduler: ticks are too coarse for a few seconds.
pub(crate) fn spent(pid: u32) -> anyhow::Result<Duration> {
    let folder = format!("/proc/{pid}/task");
    let threads = fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))?;
    let mut total = Duration::ZERO;
    for thread in threads {
        let path = thread
            .with_context(|| format!("cannot read {folder}"))?
            .path()
            .join("schedstat");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        total += on_processor(&text).with_context(|| format!("{} has no times", path.display()))?;
    }
    Ok(total)
}

pub(crate) fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kib = resident_kib(&status).with_context(|| format!("{path} has no VmRSS"))?;
    Ok(f64::from(kib) / 1024.0)
}

/// The first of three numbers: time on a processor, time waited for one, how often.
fn on_processor(schedstat: &str) -> Option<Duration> {
    let first = schedstat.split_whitespace().next()?;
    Some(Duration::from_nanos(first.parse().ok()?))
}

fn resident_kib(status: &str) -> Option<u32> {
    let mut lines = status.lines();
    let resident = lines.find_map(|line| line.strip_prefix("VmRSS:"))?;
    resident.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        assert_eq!(
            on_processor("1500000000 7 9\n"),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(on_processor(""), None);
        let status = "VmHWM:\t 99 kB\nVmRSS:\t  2048 kB\n";
        assert_eq!(resident_kib(status), Some(2048));
        assert!(spent(std::process::id()).unwrap() > Duration::ZERO);
    }
}
