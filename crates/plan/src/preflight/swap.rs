//! Whether the memory of components may be moved to a disk.

use khactl_model::preflight::SwapArea;

use super::{Finding, Level};

const CHECK: &str = "swap";
/// Swap is on.
const ON: &str = "KHA1122";

/// What follows from the areas in use; compressed memory (zram) is no disk.
pub fn judge(areas: &[SwapArea]) -> Finding {
    let on_disk: Vec<&SwapArea> = areas
        .iter()
        .filter(|area| !area.name.starts_with("/dev/zram"))
        .collect();
    if on_disk.is_empty() {
        return Finding::fine(CHECK, "none on a disk");
    }
    let shown: Vec<String> = on_disk
        .iter()
        .map(|area| format!("{} ({} MiB)", area.name, area.kib >> 10))
        .collect();
    Finding::new(
        Level::Warning,
        CHECK,
        ON,
        format!(
            "swap is on: {}; when memory runs short etcd and the API server wait for it, and seem dead to the others (khavip's own memory is locked)",
            shown.join(", ")
        ),
        "`swapoff -a`, and take it out of /etc/fstab",
    )
}

#[cfg(test)]
mod tests {
    use super::super::weighed;
    use super::*;

    fn area(name: &str) -> SwapArea {
        SwapArea {
            name: name.to_owned(),
            kib: 2 << 20,
        }
    }

    #[test]
    fn an_area_on_a_disk_is_named_with_its_size() {
        let found = judge(&[area("/dev/zram0"), area("/swapfile")]);
        assert!(
            found.finding.contains("/swapfile (2048 MiB)") && !found.finding.contains("zram"),
            "{}",
            found.finding
        );
        assert_eq!(weighed(&[found]), [(Level::Warning, "KHA1122")]);
    }

    #[test]
    fn none_and_compressed_memory_are_fine() {
        for areas in [vec![], vec![area("/dev/zram0")]] {
            assert_eq!(weighed(&[judge(&areas)]), [(Level::Fine, "")]);
        }
    }
}
