//! The commands of the page, as its reader types them.

use std::fs;
use std::path::Path;

/// One block of commands and the hosts on which it is typed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) hosts: Vec<String>,
    pub(crate) script: String,
}

/// The blocks of one section.
#[track_caller]
pub(crate) fn blocks(page: &Path, section: &str) -> Vec<Block> {
    let text = fs::read_to_string(page).expect("the page");
    let (_, rest) = text
        .split_once(&format!("\n## {section}\n"))
        .unwrap_or_else(|| panic!("{} has no section {section:?}", page.display()));
    let section = rest.split("\n## ").next().unwrap_or(rest);
    section
        .split("\n```sh\n")
        .skip(1)
        .map(|rest| block(rest.split("\n```").next().unwrap_or(rest)))
        .collect()
}

/// The first line says where: `# on cp1`, `# on cp2 and cp3`, `# on every host`.
#[track_caller]
fn block(text: &str) -> Block {
    let (place, script) = text
        .split_once('\n')
        .unwrap_or_else(|| panic!("a block without a place: {text}"));
    let place = place
        .strip_prefix("# on ")
        .unwrap_or_else(|| panic!("where is {place:?} typed?"));
    let hosts = match place {
        "every host" => vec!["cp1".into(), "cp2".into(), "cp3".into()],
        some => some.split(" and ").map(str::to_owned).collect(),
    };
    Block {
        hosts,
        script: script.to_owned(),
    }
}
