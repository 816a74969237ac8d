//! Reads single fields out of a tree, notes every mistake with its place and goes on.

use std::collections::BTreeMap;

use super::position::Positions;
use super::problem::{Code, Problem};
use super::tree::{Node, Value};

/// Why a text is not what a field holds: the end of the sentence `X …`, and what to try.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) cure: String,
    pub(crate) code: Code,
}

impl Refusal {
    pub(crate) fn malformed(message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            cure: cure.into(),
            code: Code::Malformed,
        }
    }

    pub(crate) fn out_of_range(message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            code: Code::OutOfRange,
            ..Self::malformed(message, cure)
        }
    }
}

/// A scalar as written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scalar<'t> {
    pub(crate) text: &'t str,
    /// Written without quotes.
    pub(crate) plain: bool,
}

/// The entries of one mapping; an absent mapping has none.
pub(crate) struct Fields<'t> {
    path: String,
    entries: BTreeMap<&'t str, &'t Node>,
}

impl<'t> Fields<'t> {
    pub(crate) fn path(&self, name: &str) -> String {
        join(&self.path, name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.node(name).is_some()
    }

    /// The value of a field; none if it is absent or left empty.
    fn node(&self, name: &str) -> Option<&'t Node> {
        self.entries
            .get(name)
            .copied()
            .filter(|node| !node.is_null())
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Collects what is wrong while fields are read.
#[derive(Default)]
pub(crate) struct Reader {
    pub(crate) problems: Vec<Problem>,
    pub(crate) positions: Positions,
    /// The tree ends at a syntax error: absent fields may stand behind it.
    pub(crate) truncated: bool,
}

impl Reader {
    pub(crate) fn problem(
        &mut self,
        path: &str,
        code: Code,
        message: impl Into<String>,
        cure: impl Into<String>,
    ) {
        self.problems.push(Problem {
            position: self.positions.find(path),
            path: path.to_owned(),
            message: message.into(),
            code,
            cure: cure.into(),
        });
    }

    /// Has something at this path, inside it or around it been found wrong already?
    pub(crate) fn is_broken(&self, path: &str) -> bool {
        let inside = |inner: &str, outer: &str| {
            !outer.is_empty()
                && inner
                    .strip_prefix(outer)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.problems.iter().any(|problem| {
            problem.code != Code::UnknownField
                && (inside(&problem.path, path) || inside(path, &problem.path))
        })
    }

    /// The document itself as a mapping.
    pub(crate) fn root<'t>(&mut self, root: Option<&'t Node>, known: &[&str]) -> Fields<'t> {
        self.entries(root, String::new(), Some(known))
    }

    /// A mapping with known fields.
    pub(crate) fn section<'t>(
        &mut self,
        parent: &Fields<'t>,
        name: &str,
        known: &[&str],
    ) -> Fields<'t> {
        self.entries(parent.node(name), parent.path(name), Some(known))
    }

    fn entries<'t>(
        &mut self,
        node: Option<&'t Node>,
        path: String,
        known: Option<&[&str]>,
    ) -> Fields<'t> {
        let mut fields = Fields {
            path,
            entries: BTreeMap::new(),
        };
        let Some(node) = node else { return fields };
        self.positions.record(&fields.path, node.position);
        let Value::Map(entries) = &node.value else {
            self.problem(
                &fields.path,
                Code::Malformed,
                format!("{} stands here, and fields belong here", shape(node)),
                match known {
                    Some(known) => format!("Write {} below it, indented.", known.join(", ")),
                    None => "Write NAME: VALUE lines below it, indented.".to_owned(),
                },
            );
            return fields;
        };
        for (key, value) in entries {
            let Value::Scalar { text, .. } = &key.value else {
                self.positions.record(&fields.path, key.position);
                self.problem(
                    &fields.path,
                    Code::Malformed,
                    format!("{} stands where a field's name belongs", shape(key)),
                    "Write NAME: VALUE.",
                );
                continue;
            };
            let path = fields.path(text);
            if known.is_some_and(|known| !known.contains(&text.as_str())) {
                self.positions.record(&path, key.position);
                let cure = unknown_field_cure(text, known.unwrap_or_default());
                self.problem(&path, Code::UnknownField, "there is no such field", cure);
                continue;
            }
            if let Some(first) = fields.entries.get(text.as_str()) {
                let line = first.position.line;
                self.positions.record(&path, key.position);
                self.problem(
                    &path,
                    Code::Duplicate,
                    format!("the field is here for the second time, after line {line}"),
                    "Keep one of the two.",
                );
                continue;
            }
            self.positions.record(&path, value.position);
            fields.entries.insert(text, value);
        }
        fields
    }

    /// A field with a default.
    pub(crate) fn value<T>(
        &mut self,
        fields: &Fields<'_>,
        name: &str,
        default: T,
        parse: impl FnOnce(Scalar<'_>) -> Result<T, Refusal>,
    ) -> T {
        self.optional(fields, name, parse).unwrap_or(default)
    }

    /// A field that may be absent.
    pub(crate) fn optional<T>(
        &mut self,
        fields: &Fields<'_>,
        name: &str,
        parse: impl FnOnce(Scalar<'_>) -> Result<T, Refusal>,
    ) -> Option<T> {
        let node = fields.node(name)?;
        self.scalar(node, &fields.path(name), parse)
    }

    /// A field that must be there.
    pub(crate) fn required<T>(
        &mut self,
        fields: &Fields<'_>,
        name: &str,
        cure: &str,
        parse: impl FnOnce(Scalar<'_>) -> Result<T, Refusal>,
    ) -> Option<T> {
        if !fields.has(name) {
            self.missing(&fields.path(name), cure);
            return None;
        }
        self.optional(fields, name, parse)
    }

    /// Notes that a field is missing, unless it may stand behind a syntax error.
    pub(crate) fn missing(&mut self, path: &str, cure: &str) {
        if !self.truncated {
            self.problem(
                path,
                Code::Missing,
                "this field must be there and is not",
                cure,
            );
        }
    }

    /// A list; the items that cannot be read are left out.
    pub(crate) fn list<T>(
        &mut self,
        fields: &Fields<'_>,
        name: &str,
        mut parse: impl FnMut(Scalar<'_>) -> Result<T, Refusal>,
    ) -> Option<Vec<T>> {
        let node = fields.node(name)?;
        let path = fields.path(name);
        let Value::List(items) = &node.value else {
            self.problem(
                &path,
                Code::Malformed,
                format!("{} stands here, and a list belongs here", shape(node)),
                "Write [ITEM, ITEM], or one \"- ITEM\" on each line below.",
            );
            return None;
        };
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let item_path = format!("{path}[{index}]");
            self.positions.record(&item_path, item.position);
            if let Some(value) = self.scalar(item, &item_path, &mut parse) {
                values.push(value);
                self.positions.keep_item(&path, item_path);
            }
        }
        Some(values)
    }

    /// A mapping with free keys.
    pub(crate) fn map<T>(
        &mut self,
        fields: &Fields<'_>,
        name: &str,
        key: impl Fn(Scalar<'_>) -> Result<String, Refusal>,
        mut parse: impl FnMut(Scalar<'_>) -> Result<T, Refusal>,
    ) -> BTreeMap<String, T> {
        let entries = self.entries(fields.node(name), fields.path(name), None);
        let mut values = BTreeMap::new();
        for (text, node) in &entries.entries {
            let path = entries.path(text);
            let checked = key(Scalar { text, plain: true });
            let read = self.scalar(node, &path, &mut parse);
            match (checked, read) {
                (Ok(key), Some(value)) => {
                    values.insert(key, value);
                }
                (Err(refusal), _) => self.refuse(&path, text, refusal),
                (Ok(_), None) => {}
            }
        }
        values
    }

    fn scalar<T>(
        &mut self,
        node: &Node,
        path: &str,
        parse: impl FnOnce(Scalar<'_>) -> Result<T, Refusal>,
    ) -> Option<T> {
        let Value::Scalar { text, plain } = &node.value else {
            self.problem(
                path,
                Code::Malformed,
                format!(
                    "{} stands here, and a single value belongs here",
                    shape(node)
                ),
                "Write one value.",
            );
            return None;
        };
        match parse(Scalar {
            text,
            plain: *plain,
        }) {
            Ok(value) => Some(value),
            Err(refusal) => {
                self.refuse(path, text, refusal);
                None
            }
        }
    }

    fn refuse(&mut self, path: &str, text: &str, refusal: Refusal) {
        let shown = if text.is_empty() {
            "an empty value"
        } else {
            text
        };
        self.problem(
            path,
            refusal.code,
            format!("{} {}", shorten(shown), refusal.message),
            refusal.cure,
        );
    }
}

fn shape(node: &Node) -> &'static str {
    match node.value {
        Value::Scalar { .. } => "a single value",
        Value::List(_) => "a list",
        Value::Map(_) => "a group of fields",
    }
}

/// A value may be a whole pasted file; a message shows its first characters, and no control character of it.
fn shorten(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    let mut shown: String = text
        .chars()
        .take(SHOWN_CHARS_MAX)
        .flat_map(printable)
        .collect();
    if text.chars().count() > SHOWN_CHARS_MAX {
        shown.push('…');
    }
    shown
}

fn printable(character: char) -> Vec<char> {
    if character.is_control() {
        character.escape_default().collect()
    } else {
        vec![character]
    }
}

fn unknown_field_cure(name: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min();
    match near {
        Some((_, candidate)) => format!("Did you mean {candidate}?"),
        None => format!("The fields here are {}.", known.join(", ")),
    }
}

/// Edits between two names, letter case aside; long names are cut, for the names of fields are short.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).map(|c| c.to_ascii_lowercase()).collect();
    let b: Vec<char> = b.chars().take(64).map(|c| c.to_ascii_lowercase()).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_proposed_and_a_far_one_is_not() {
        let known = ["addresses", "interface", "leaseMs"];
        assert_eq!(
            unknown_field_cure("adresses", &known),
            "Did you mean addresses?"
        );
        assert_eq!(
            unknown_field_cure("leasems", &known),
            "Did you mean leaseMs?"
        );
        assert!(unknown_field_cure("gateway", &known).starts_with("The fields here are"));
    }

    #[test]
    fn a_pasted_file_does_not_flood_the_message() {
        assert!(shorten(&"x".repeat(9000)).chars().count() <= 81);
        assert_eq!(shorten("a\u{1b}[31m"), "a\\u{1b}[31m");
    }
}
