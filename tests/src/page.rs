//! The commands of the quick start, as its reader types them.

use std::fs;

use crate::hosts::repository;

/// One block of commands, and where it is typed.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// The hosts; none where the block does not say it.
    pub hosts: Vec<String>,
    /// The lines.
    pub script: String,
}

/// The blocks of one section.
#[track_caller]
pub fn quick_start(section: &str) -> Vec<Block> {
    let page = repository().join("docs/quick-start.md");
    let text = fs::read_to_string(page).expect("the page");
    let Some((_, rest)) = text.split_once(&format!("\n## {section}\n")) else {
        panic!("the quick start has no section {section:?}");
    };
    let section = rest.split("\n## ").next().unwrap_or(rest);
    section
        .split("\n```sh\n")
        .skip(1)
        .map(|rest| block(rest.split("\n```").next().unwrap_or(rest)))
        .collect()
}

/// The first line may say where: `# on cp1`, `# on cp2 and cp3`, `# on every host`.
fn block(text: &str) -> Block {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let Some(place) = first.strip_prefix("# on ") else {
        return Block {
            hosts: Vec::new(),
            script: text.to_owned(),
        };
    };
    let hosts = match place {
        "every host" => vec!["cp1".into(), "cp2".into(), "cp3".into()],
        some => some.split(" and ").map(str::to_owned).collect(),
    };
    Block {
        hosts,
        script: rest.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_says_where_it_is_typed_or_nothing() {
        let typed = block("# on cp2 and cp3\nkhactl status\nls");
        assert_eq!(typed.hosts, ["cp2", "cp3"]);
        assert_eq!(typed.script, "khactl status\nls");
        assert_eq!(block("# on every host\nls").hosts.len(), 3);
        let anywhere = block("make lab");
        assert_eq!(anywhere.hosts, [""; 0]);
        assert_eq!(anywhere.script, "make lab");
    }
}
