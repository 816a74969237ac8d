//! The machine on which it was measured, as far as numbers depend on it.

use std::fmt;
use std::fs;
use std::thread;

use serde::{Deserialize, Serialize};

/// What a reader needs to compare the figures with others.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Machine {
    cores: usize,
    processor: String,
    memory_gib: u64,
    kernel: String,
    /// The load average over the last minute, before the first round: what else it had to do.
    load: String,
}

impl Machine {
    /// This one, now.
    pub fn read() -> Self {
        let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            cores: thread::available_parallelism().map_or(0, usize::from),
            processor: field(&file("/proc/cpuinfo"), "model name"),
            memory_gib: field(&file("/proc/meminfo"), "MemTotal")
                .trim_end_matches(" kB")
                .parse::<u64>()
                .map_or(0, |kib| (kib + (1 << 19)) >> 20),
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: file("/proc/loadavg")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cores of {}, {} GiB, Linux {}, load {} before the first round",
            self.cores, self.processor, self.memory_gib, self.kernel, self.load
        )
    }
}

/// The first value of this name in lines of `name : value`.
fn field(text: &str, name: &str) -> String {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "model\t\t: 17\nmodel name\t: AMD EPYC\nmodel name\t: another\n";
        assert_eq!(field(text, "model name"), "AMD EPYC");
        assert_eq!(field(text, "name"), "");
    }
}
