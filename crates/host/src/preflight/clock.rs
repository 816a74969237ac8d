//! Who keeps the clock right: by the programs that run, the kernel's own view, and chrony's configuration.

use khactl_model::preflight::{ClockFacts, KernelClock};
use khactl_sys::clock_discipline;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Short names of processes, and what people call them. The kernel keeps 15 bytes of a name.
const SERVICES: [(&str, &str); 6] = [
    ("chronyd", "chronyd"),
    ("systemd-timesyn", "systemd-timesyncd"),
    ("ntpd", "ntpd"),
    ("openntpd", "openntpd"),
    ("ptp4l", "ptp4l"),
    ("phc2sys", "phc2sys"),
];

/// Where chrony is configured: Debian's places and others'.
const CHRONY_FILES: [&str; 2] = ["etc/chrony/chrony.conf", "etc/chrony.conf"];
const CHRONY_FOLDERS: [&str; 2] = ["etc/chrony/conf.d", "etc/chrony.d"];

pub(super) fn facts(machine: &Path, running: &BTreeSet<String>) -> ClockFacts {
    let services = SERVICES
        .iter()
        .filter(|(process, _)| running.contains(*process))
        .map(|(_, service)| (*service).to_owned())
        .collect();
    // Refused in some containers, whose clock is not theirs to keep.
    let kernel = clock_discipline::read().ok().map(|told| KernelClock {
        synchronized: told.synchronized,
        error_us: told.error_us,
        rate_ppm: told.rate_ppm,
    });
    ClockFacts {
        services,
        kernel,
        chrony_slew_ppm: chrony_slew_ppm(machine),
    }
}

/// The last that is said counts.
fn chrony_slew_ppm(machine: &Path) -> Option<u32> {
    let files = CHRONY_FILES.iter().map(|file| machine.join(file));
    let more = CHRONY_FOLDERS
        .iter()
        .flat_map(|folder| super::files_of(&machine.join(folder)));
    let all: Vec<PathBuf> = files.chain(more).collect();
    all.iter()
        .flat_map(|file| {
            super::text_of(file)
                .lines()
                .filter_map(limit)
                .collect::<Vec<_>>()
        })
        .next_back()
}

/// `maxslewrate 1000.0`; chrony takes directives in any case, and everything after `!`, `;`, `#`, `%` for a comment.
fn limit(line: &str) -> Option<u32> {
    let mut words = line.split_whitespace();
    let directive = words.next()?;
    if !directive.eq_ignore_ascii_case("maxslewrate") {
        return None;
    }
    let (whole, _) = words
        .next()
        .map(|word| word.split_once('.').unwrap_or((word, "")))?;
    whole.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn services_are_called_as_people_know_them() {
        let machine = tempfile::tempdir().unwrap();
        let running = BTreeSet::from(["systemd-timesyn", "sshd"].map(str::to_owned));
        let facts = facts(machine.path(), &running);
        assert_eq!(
            facts.services,
            BTreeSet::from(["systemd-timesyncd".to_owned()])
        );
    }

    #[test]
    fn the_last_limit_of_chrony_counts_wherever_it_stands() {
        let machine = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let file = machine.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        assert_eq!(chrony_slew_ppm(machine.path()), None);
        write(
            "etc/chrony/chrony.conf",
            "pool a\n# maxslewrate 5\nMaxSlewRate 1000.5\n",
        );
        assert_eq!(chrony_slew_ppm(machine.path()), Some(1_000));
        write("etc/chrony/conf.d/ours.conf", "maxslewrate 500\n");
        assert_eq!(chrony_slew_ppm(machine.path()), Some(500));
        write("etc/chrony/conf.d/ours.conf", "maxslewrate\n");
        assert_eq!(chrony_slew_ppm(machine.path()), Some(1_000));
    }
}
