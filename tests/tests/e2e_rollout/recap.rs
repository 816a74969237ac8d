//! What a playbook says at its end of each host, and what it must not say at all.

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

/// Whether a token's secret and pin stand somewhere: 32 hexadecimal digits, a dot, and 64 more.
pub(crate) fn shows_a_token(printed: &str) -> bool {
    let bytes = printed.as_bytes();
    let hex = |from: usize, to: usize| {
        let part = bytes.get(from..to).unwrap_or_default();
        part.len() == to - from && part.iter().all(u8::is_ascii_hexdigit)
    };
    (32..bytes.len())
        .filter(|&dot| bytes[dot] == b'.')
        .any(|dot| hex(dot - 32, dot) && hex(dot + 1, dot + 65))
}

#[test]
fn a_token_is_found_wherever_it_stands() {
    let token = format!("{}.{}", "0a".repeat(16), "f1".repeat(32));
    assert!(shows_a_token(&format!("\"token\": \"id.{token}\"")));
    assert!(shows_a_token(&token));
    assert!(!shows_a_token(&token[1..]));
    assert!(!shows_a_token(&token[..token.len() - 1]));
    assert!(!shows_a_token("ok: [cp1]"));
}

#[test]
fn changes_are_read_by_host() {
    let printed = "TASK [x]\nPLAY RECAP ****\ncp1 : ok=3  changed=2 unreachable=0 failed=0\ncp2 : ok=1 changed=0 failed=0\n";
    let expected = [("cp1".to_owned(), 2), ("cp2".to_owned(), 0)];
    assert_eq!(changes(printed), BTreeMap::from(expected));
}
