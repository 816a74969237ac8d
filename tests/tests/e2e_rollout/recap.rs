//! What a playbook says at its end of each host.

use std::collections::BTreeMap;

/// Changes by host, of a run that failed nowhere; panics if there was none.
#[track_caller]
pub(crate) fn changes(printed: &str) -> BTreeMap<String, u32> {
    let (_, recap) = printed
        .split_once("PLAY RECAP")
        .unwrap_or_else(|| panic!("the playbook did not come to its end: {printed}"));
    let by_host: BTreeMap<_, _> = recap.lines().filter_map(of_line).collect();
    assert!(!by_host.is_empty(), "no host in {recap}");
    by_host
}

fn of_line(line: &str) -> Option<(String, u32)> {
    let (host, numbers) = line.split_once(':')?;
    let changed = numbers
        .split_whitespace()
        .find_map(|number| number.strip_prefix("changed="))?;
    Some((host.trim().to_owned(), changed.parse().ok()?))
}

#[test]
fn changes_are_read_by_host() {
    let printed = "TASK [x]\nPLAY RECAP ****\ncp1 : ok=3  changed=2 unreachable=0 failed=0\ncp2 : ok=1 changed=0 failed=0\n";
    let expected = [("cp1".to_owned(), 2), ("cp2".to_owned(), 0)];
    assert_eq!(changes(printed), BTreeMap::from(expected));
}
