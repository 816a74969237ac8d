//! What a process has taken of the machine, as the kernel tells it.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use khactl_lab::measure::now_us;
use khactl_sys::process_stat::ProcessStat;

/// Linux counts times for programs in hundredths of a second, whatever its own tick.
const TICK_MS: u64 = 10;

/// Resident memory, shared pages included.
pub(crate) fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kib = resident_kib(&status).with_context(|| format!("{path} has no VmRSS"))?;
    Ok(f64::from(kib) / 1024.0)
}

/// Processor time since its start, of all threads that it has or had.
pub(crate) fn spent(pid: u32) -> anyhow::Result<Duration> {
    Ok(time(stat(pid)?.spent_ticks))
}

/// How long it has been running.
pub(crate) fn age(pid: u32) -> anyhow::Result<Duration> {
    let started = time(stat(pid)?.start_ticks);
    Ok(Duration::from_micros(now_us()).saturating_sub(started))
}

fn stat(pid: u32) -> anyhow::Result<ProcessStat> {
    ProcessStat::of(pid).with_context(|| format!("there is no process {pid}"))
}

fn time(ticks: u64) -> Duration {
    Duration::from_millis(ticks.saturating_mul(TICK_MS))
}

fn resident_kib(status: &str) -> Option<u32> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_a_status() {
        assert_eq!(
            resident_kib("VmHWM:\t  9 kB\nVmRSS:\t  62496 kB\n"),
            Some(62496)
        );
        assert_eq!(resident_kib("Name:\tkhad\n"), None);
    }

    #[test]
    fn this_process_has_run_for_a_while_and_spent_no_more_than_that_on_each_core() {
        let own = std::process::id();
        let (spent, age) = (spent(own).unwrap(), age(own).unwrap());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        assert!(age < Duration::from_hours(24), "{age:?}");
        assert!(spent <= (age + time(1)) * u32::try_from(cores).unwrap());
    }
}
