//! Whether the kernel has what khactl cannot do without. What makes the VIP's fencing better is asked of khavip.

use super::{Finding, Level};

const CHECK: &str = "kernel";
/// The kernel is too old, or says no version.
const OLD: &str = "KHA1150";

/// Processes are watched by pidfd_open(2), which came with 5.3.
const OLDEST: (u32, u32) = (5, 3);

/// What follows from the release as `uname -r` shows it.
pub fn judge(release: &str) -> Finding {
    match version(release) {
        Some(version) if version >= OLDEST => Finding::fine(CHECK, format!("Linux {release}")),
        _ => Finding::new(
            Level::Blocking,
            CHECK,
            OLD,
            format!(
                "this is Linux {release}, and processes cannot be supervised safely before {}.{}",
                OLDEST.0, OLDEST.1
            ),
            "install a newer kernel: 5.8 or later also gives the best fencing of the VIP",
        ),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::weighed;
    use super::*;

    #[test]
    fn releases_are_read_as_distributions_write_them() {
        for release in [
            "6.1.0-28-amd64",
            "5.3.0",
            "5.14.0-503.el9.x86_64",
            "10.0-rc1",
        ] {
            assert_eq!(weighed(&[judge(release)]), [(Level::Fine, "")], "{release}");
        }
        for release in ["5.2.21", "4.18.0-553.el8_10.x86_64", "unknown", ""] {
            let found = judge(release);
            assert!(found.finding.contains(release), "{found:?}");
            assert_eq!(weighed(&[found]), [(Level::Blocking, "KHA1150")]);
        }
    }
}
