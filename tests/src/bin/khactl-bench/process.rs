//! What a process has taken of the machine, as the kernel tells it.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use khactl_lab::measure::now_us;

/// Linux counts times for programs in hundredths of a second, whatever its own tick.
const TICK: Duration = Duration::from_millis(10);

/// Resident memory, shared pages included.
pub(crate) fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kib = resident_kib(&status).with_context(|| format!("{path} has no VmRSS"))?;
    Ok(f64::from(kib) / 1024.0)
}

/// Processor time since its start, of all threads that it has or had.
pub(crate) fn spent(pid: u32) -> anyhow::Result<Duration> {
    let stat = stat(pid)?;
    let (user, system) = (field(&stat, 14), field(&stat, 15));
    let ticks = user.zip(system).map(|(user, system)| user + system);
    Ok(TICK * ticks.with_context(|| format!("process {pid} has no times"))?)
}

/// How long it has been running.
pub(crate) fn age(pid: u32) -> anyhow::Result<Duration> {
    let started = field(&stat(pid)?, 22).with_context(|| format!("process {pid} has no start"))?;
    Ok(Duration::from_micros(now_us()).saturating_sub(TICK * started))
}

fn stat(pid: u32) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/stat");
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

fn resident_kib(status: &str) -> Option<u32> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// A number in `/proc/PID/stat`; its place, from 3, as in proc(5).
fn field(stat: &str, place: usize) -> Option<u32> {
    // The name in parentheses, field 2, may hold anything: count from its end.
    let (_, rest) = stat.rsplit_once(')')?;
    let field = rest.split_whitespace().nth(place.checked_sub(3)?)?;
    field.parse().ok()
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
    fn times_are_found_behind_a_name_with_spaces_and_parentheses() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 3 4 20 0 1 0 99";
        let times = [14, 15, 22].map(|place| field(stat, place));
        assert_eq!(times, [Some(250), Some(50), Some(99)]);
        assert_eq!(field("7 (a) S 1", 14), None);
    }

    #[test]
    fn this_process_has_run_for_a_while_and_spent_no_more_than_that_on_each_core() {
        let own = std::process::id();
        let (spent, age) = (spent(own).unwrap(), age(own).unwrap());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        assert!(age < Duration::from_hours(24), "{age:?}");
        assert!(spent <= (age + TICK) * u32::try_from(cores).unwrap());
    }
}
