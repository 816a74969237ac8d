//! Where memory is moved to, as the kernel lists it.

use khactl_model::preflight::SwapArea;
use std::path::Path;

/// The areas in use; none where the kernel knows no swap.
pub(super) fn areas(machine: &Path) -> Vec<SwapArea> {
    let text = super::text_of(&machine.join("proc/swaps"));
    // One line of headings.
    text.lines().skip(1).filter_map(parse).collect()
}

/// `NAME TYPE KIB USED PRIORITY`; spaces in the name are written in octal (proc_swaps(5)).
fn parse(line: &str) -> Option<SwapArea> {
    let mut fields = line.split_whitespace();
    let name = fields.next()?.replace("\\040", " ");
    Some(SwapArea {
        name,
        kib: fields.nth(1)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn every_area_is_listed_with_its_size() {
        let machine = tempfile::tempdir().unwrap();
        assert!(areas(machine.path()).is_empty());
        fs::create_dir(machine.path().join("proc")).unwrap();
        let list = "Filename\tType\t\tSize\t\tUsed\t\tPriority\n\
            /dev/sda2                               partition\t2097148\t\t0\t\t-2\n\
            /my\\040swap\tfile\t1024\t0\t-3\nbroken\n";
        fs::write(machine.path().join("proc/swaps"), list).unwrap();
        let area = |name: &str, kib| SwapArea {
            name: name.to_owned(),
            kib,
        };
        assert_eq!(
            areas(machine.path()),
            [area("/dev/sda2", 2_097_148), area("/my swap", 1_024)]
        );
    }
}
