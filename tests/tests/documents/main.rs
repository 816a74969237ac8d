//! Holds the documents against the program: codes, command lines, links, paths, the reference. It reads the
//! repository, and runs nothing but a shell that only reads.

mod reference;
mod schema;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use khactl::cli::Cli;
use khactl_model::spec::{ClusterSpec, Code};
use serde_json::Value;

/// Where a source file's tests begin: they stand last.
const TESTS_BEGIN: &str = "#[cfg(test)]\nmod ";
/// "KHA" and four digits.
const CODE_LEN: usize = 7;

#[test]
fn every_code_of_the_sources_is_explained_and_no_other() {
    let sources = codes_of_the_sources();
    assert!(sources.len() > 100, "only {} codes found", sources.len());
    let document = read(&root().join("docs/errors.md"));
    let rows: Vec<String> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| KHA"))
        .map(|rest| format!("KHA{}", rest.chars().take(4).collect::<String>()))
        .collect();
    let explained: BTreeSet<String> = rows.iter().cloned().collect();
    assert_eq!(rows.len(), explained.len(), "a code has two rows");

    let missing: Vec<_> = sources.difference(&explained).collect();
    assert!(missing.is_empty(), "not in docs/errors.md: {missing:?}");
    let gone: Vec<_> = explained.difference(&sources).collect();
    assert!(gone.is_empty(), "in docs/errors.md alone: {gone:?}");
    for file in documents() {
        let unknown: Vec<_> = codes(&read(&file)).difference(&sources).cloned().collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", file.display());
    }
}

#[test]
fn every_row_of_a_code_says_what_it_means_and_what_to_do() {
    let path = root().join("docs/errors.md");
    for row in read(&path).lines().filter(|l| l.starts_with("| KHA")) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert!(
            cells.len() == 3 && cells.iter().all(|cell| cell.len() > 3),
            "not three cells: {row}"
        );
    }
}

#[test]
fn every_command_line_of_the_documents_parses() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for file in documents() {
        let text = Markdown::read(&read(&file));
        for line in text.command_lines() {
            seen += 1;
            let parsed = Cli::try_parse_from(words(&line));
            if let Err(error) = parsed
                && !(error.kind() == ErrorKind::MissingRequiredArgument && names_a_command(&line))
                && !matches!(
                    error.kind(),
                    ErrorKind::DisplayHelp
                        | ErrorKind::DisplayVersion
                        // A group's name alone, such as "khactl lab".
                        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                )
            {
                wrong.push(format!("{}: `{line}`: {error}", file.display()));
            }
        }
    }
    assert!(seen > 20, "only {seen} command lines found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_block_of_commands_is_one_that_a_shell_reads() {
    let mut seen = 0;
    for file in documents() {
        let text = read(&file);
        for block in text.split("```sh\n").skip(1) {
            let script = block.split("\n```").next().unwrap_or(block);
            seen += 1;
            let mut shell = Command::new("bash")
                .arg("-n")
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("bash");
            let mut to_shell = shell.stdin.take().expect("its input");
            to_shell
                .write_all(script.as_bytes())
                .expect("a shell that reads");
            drop(to_shell);
            let output = shell.wait_with_output().expect("a shell that ends");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "{}: {said}\n{script}",
                file.display()
            );
        }
    }
    assert!(seen > 30, "only {seen} blocks found");
}

#[test]
fn every_document_is_in_the_table_of_contents() {
    let docs = root().join("docs");
    let listed: BTreeSet<PathBuf> = links(&read(&docs.join("SUMMARY.md")))
        .iter()
        .map(|link| docs.join(link))
        .collect();
    let missing: Vec<_> = files(&docs, "md")
        .into_iter()
        .filter(|page| !page.ends_with("SUMMARY.md") && !listed.contains(page))
        .collect();
    assert!(missing.is_empty(), "not in docs/SUMMARY.md: {missing:?}");
}

#[test]
fn every_relative_link_leads_to_a_file() {
    let mut seen = 0;
    let mut broken = Vec::new();
    for file in documents() {
        let folder = file.parent().expect("a file has a folder");
        for target in links(&Markdown::read(&read(&file)).prose) {
            seen += 1;
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let leads_to = if path.is_empty() {
                file.clone()
            } else {
                folder.join(path)
            };
            if !leads_to.exists() || !(anchor.is_empty() || anchors(&leads_to).contains(anchor)) {
                broken.push(format!("{}: {target}", file.display()));
            }
        }
    }
    assert!(seen > 0, "no link found");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_whole_spec_of_the_documents_is_valid() {
    let mut seen = 0;
    for document in documents() {
        let text = read(&document);
        let blocks = text.split("```yaml\n").skip(1);
        for spec in blocks.filter_map(|rest| rest.split("```").next()) {
            if !spec.starts_with("apiVersion: khactl.io/") {
                continue;
            }
            seen += 1;
            if let Err(problems) = ClusterSpec::parse(spec) {
                panic!("{}: {problems:?}\n{spec}", document.display());
            }
        }
    }
    assert!(seen > 1, "only {seen} specs found");
}

#[test]
fn every_path_in_the_invariants_table_exists() {
    let text = read(&root().join("docs/architecture.md"));
    let (_, rest) = text.split_once("## Invariants").expect("the section");
    let section = rest.split("\n## ").next().unwrap_or(rest);
    let named: Vec<String> = section
        .lines()
        .filter(|line| line.starts_with("| "))
        .flat_map(|row| Markdown::read(row).code)
        .collect();
    assert!(named.len() > 20, "only {} paths found", named.len());
    let missing: Vec<_> = named
        .iter()
        .filter(|path| !root().join(path).exists())
        .collect();
    assert!(
        missing.is_empty(),
        "not paths from the repository's root: {missing:?}"
    );
}

#[test]
fn a_document_is_taken_apart_as_people_read_it() {
    let text = Markdown::read(concat!(
        "Run `khactl\nstatus`, then [look](a.md#b) at `khactl nonsense`.\n",
        "```sh\n$ khactl kubeconfig > file   # for kubectl\nkhactl token \\\n  create\nls\n khactl ──► khad\n```\n",
        "1. deeper:\n   ```sh\n   sudo khactl init -f x.yaml\n   ```\n",
    ));
    assert_eq!(
        text.command_lines(),
        [
            "khactl status",
            "khactl nonsense",
            "khactl kubeconfig",
            "khactl token create",
            "khactl init -f x.yaml",
        ]
    );
    assert_eq!(links(&text.prose), ["a.md#b"]);
    assert!(Cli::try_parse_from(words("khactl nonsense")).is_err());
    assert_eq!(
        codes("KHA0001, KHA12 and KHA12345"),
        BTreeSet::from(["KHA0001".to_owned()])
    );
}

/// A document's parts that are checked, each apart from the others.
struct Markdown {
    /// Lines of fenced blocks.
    fenced: Vec<String>,
    /// Inline code, on one line each.
    code: Vec<String>,
    /// The rest, on one line.
    prose: String,
}

impl Markdown {
    fn read(text: &str) -> Self {
        let (mut fenced, mut outside) = (Vec::new(), String::new());
        let mut inside = false;
        for line in text.lines() {
            if line.trim_start().starts_with("```") {
                inside = !inside;
            } else if inside {
                fenced.push(line.to_owned());
            } else {
                outside.push_str(line);
                outside.push(' ');
            }
        }
        let (mut code, mut prose) = (Vec::new(), String::new());
        for (at, part) in outside.split('`').enumerate() {
            if at % 2 == 1 {
                code.push(part.to_owned());
            } else {
                prose.push_str(part);
            }
        }
        Self {
            fenced,
            code,
            prose,
        }
    }

    /// What a reader would type that begins with `khactl `, without comment, pipe and redirection.
    fn command_lines(&self) -> Vec<String> {
        let fenced = self.fenced.join("\n").replace("\\\n", " ");
        let typed = fenced.lines().map(|line| {
            line.trim()
                .trim_start_matches("$ ")
                .trim_start_matches("sudo ")
        });
        self.code
            .iter()
            .map(String::as_str)
            .chain(typed)
            .filter(|line| line.starts_with("khactl "))
            // A drawing is no command line.
            .filter(|line| !line.contains(|c| matches!(c, '\u{2500}'..='\u{257f}')))
            .map(|line| {
                let plain = line.split_whitespace();
                let own = plain.take_while(|w| !matches!(*w, "#" | "|" | ">" | "&&" | ";"));
                own.collect::<Vec<_>>().join(" ")
            })
            .collect()
    }
}

/// Is a command only spoken of, by its name alone?
fn names_a_command(line: &str) -> bool {
    let named = words(line)
        .skip(1)
        .try_fold(Cli::command(), |command, word| {
            command.find_subcommand(word).cloned()
        });
    named.is_some()
}

fn words(line: &str) -> impl Iterator<Item = String> {
    line.split(' ').map(str::to_owned)
}

/// Targets of `[text](target)` that stay in the repository.
fn links(prose: &str) -> Vec<String> {
    prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .map(str::to_owned)
        .collect()
}

/// What a document's headings are called in links.
fn anchors(file: &Path) -> BTreeSet<String> {
    read(file)
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            heading
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// Every code in the crates' sources outside tests.
fn codes_of_the_sources() -> BTreeSet<String> {
    let mut found: BTreeSet<String> = Code::ALL.iter().map(ToString::to_string).collect();
    for crate_dir in entries(&root().join("crates")) {
        for file in files(&crate_dir.join("src"), "rs") {
            if file.file_name().is_some_and(|name| name == "tests.rs") {
                continue;
            }
            let text = read(&file);
            let shipped = text.split(TESTS_BEGIN).next().unwrap_or(&text);
            found.extend(codes(shipped));
        }
    }
    found
}

/// `KHA` with exactly four digits.
fn codes(text: &str) -> BTreeSet<String> {
    text.match_indices("KHA")
        .filter_map(|(at, _)| {
            let code = text.get(at..at + CODE_LEN)?;
            let digits = code.bytes().skip(3).all(|b| b.is_ascii_digit());
            let ends = !text[at + CODE_LEN..].starts_with(|c: char| c.is_ascii_digit());
            (digits && ends).then(|| code.to_owned())
        })
        .collect()
}

/// docs/reference/cluster.schema.json
fn schema() -> Value {
    let text = read(&root().join("docs/reference/cluster.schema.json"));
    serde_json::from_str(&text).expect("the schema is JSON")
}

/// README.md, the collection's, and everything below docs.
fn documents() -> Vec<PathBuf> {
    let mut all = files(&root().join("docs"), "md");
    all.extend(["README.md", "ansible/README.md"].map(|page| root().join(page)));
    all
}

/// Files with that extension, in all folders below.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in entries(folder) {
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder's entry").path())
        .collect();
    all.sort();
    all
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the repository is around the tests")
        .to_owned()
}
