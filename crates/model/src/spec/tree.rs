//! A YAML text as a tree that knows where each of its nodes stands.
//!
//! A spec is read from this tree and not by one deserialisation pass, because that pass would stop at the first
//! mistake. Anchors, aliases, tags and merge keys are refused: a spec has no use for them, and without them the
//! tree is never larger than its text.

use granit_parser::{Event, Parser, ScalarStyle, Span};

use super::Position;
use super::problem::{Code, Problem};

/// A spec is a page of text; what is larger is another file given by mistake.
const TEXT_BYTES_MAX: usize = 256 * 1024;

/// The spec's own deepest field is at 5.
const DEPTH_MAX: usize = 16;

/// A node and its place.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) position: Position,
    pub(crate) value: Value,
}

#[derive(Debug)]
pub(crate) enum Value {
    /// `plain` tells `6443` from `"6443"`.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// An empty value, `~` or `null`: the field is written down but left to its default.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }
}

/// What could be read of a text.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) root: Option<Node>,
    /// The text ends for us at a syntax error: what is not in the tree may stand behind it.
    pub(crate) truncated: bool,
    pub(crate) problems: Vec<Problem>,
}

/// A collection whose end has not come yet.
enum Open {
    List(Position, Vec<Node>),
    Map(Position, Vec<(Node, Node)>, Option<Node>),
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    problems: Vec<Problem>,
}

impl Tree {
    /// Reads all that can be read.
    pub(crate) fn read(text: &str) -> Self {
        let mut builder = Builder::default();
        let mut truncated = false;
        if text.len() > TEXT_BYTES_MAX {
            builder.refuse(
                Position::START,
                format!(
                    "the file has {} bytes, and a cluster's has at most {TEXT_BYTES_MAX}",
                    text.len()
                ),
                "Check that this is the right file.",
            );
            return builder.finish(true);
        }
        for next in Parser::new_from_str(text) {
            match next {
                Ok((event, span)) => {
                    if !builder.take(event, start(span)) {
                        truncated = true;
                        break;
                    }
                }
                Err(error) => {
                    truncated = true;
                    let position = Position {
                        line: error.marker().line().max(1),
                        column: error.marker().col() + 1,
                    };
                    builder.refuse(
                        position,
                        format!("this is not YAML: {}", error.info()),
                        "Correct it here or in the lines just above; what follows was not read.",
                    );
                    break;
                }
            }
        }
        builder.finish(truncated)
    }
}

fn start(span: Span) -> Position {
    Position {
        line: span.start.line().max(1),
        column: span.start.col() + 1,
    }
}

impl Builder {
    /// Takes one event; false if nothing behind it can be read.
    fn take(&mut self, event: Event<'_>, position: Position) -> bool {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.refuse(
                        position,
                        "a second document begins here".to_owned(),
                        "Keep one cluster per file.",
                    );
                    return false;
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_properties(position, anchor, tag.is_some());
                self.close(Node {
                    position,
                    value: Value::Scalar {
                        text: text.into_owned(),
                        plain: style == ScalarStyle::Plain,
                    },
                });
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_properties(position, anchor, tag.is_some());
                self.open.push(Open::List(position, Vec::new()));
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_properties(position, anchor, tag.is_some());
                self.open.push(Open::Map(position, Vec::new(), None));
            }
            Event::SequenceEnd | Event::MappingEnd => self.close_collection(),
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.refuse(
                    position,
                    "an alias stands here".to_owned(),
                    "Write the value itself.",
                );
                self.close(Node {
                    position,
                    value: Value::Scalar {
                        text: String::new(),
                        plain: true,
                    },
                });
            }
            _ => {}
        }
        if self.open.len() > DEPTH_MAX {
            self.refuse(
                position,
                format!("more than {DEPTH_MAX} levels are nested here"),
                "Check that this is the right file.",
            );
            return false;
        }
        true
    }

    fn refuse_properties(&mut self, position: Position, anchor: usize, tagged: bool) {
        if anchor != 0 {
            self.refuse(
                position,
                "an anchor stands here".to_owned(),
                "Write each value where it belongs.",
            );
        }
        if tagged {
            self.refuse(
                position,
                "a tag stands here".to_owned(),
                "Write the value without its tag.",
            );
        }
    }

    fn close_collection(&mut self) {
        match self.open.pop() {
            Some(Open::List(position, items)) => self.close(Node {
                position,
                value: Value::List(items),
            }),
            Some(Open::Map(position, entries, pending)) => {
                let mut entries = entries;
                if let Some(key) = pending {
                    // Only after a syntax error: a key whose value was not read.
                    let position = key.position;
                    let value = Value::Scalar {
                        text: String::new(),
                        plain: true,
                    };
                    entries.push((key, Node { position, value }));
                }
                self.close(Node {
                    position,
                    value: Value::Map(entries),
                });
            }
            None => {}
        }
    }

    /// Puts a whole node where it belongs.
    fn close(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Map(_, entries, pending)) => match pending.take() {
                None => *pending = Some(node),
                Some(key) => entries.push((key, node)),
            },
        }
    }

    fn refuse(&mut self, position: Position, message: String, cure: &str) {
        self.problems.push(Problem {
            position,
            path: String::new(),
            message,
            code: Code::Syntax,
            cure: cure.to_owned(),
        });
    }

    fn finish(mut self, truncated: bool) -> Tree {
        while !self.open.is_empty() {
            self.close_collection();
        }
        Tree {
            root: self.root,
            truncated,
            problems: self.problems,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_a_syntax_error_is_still_read() {
        let tree = Tree::read("a: 1\nb: [2\nc: }\n");
        assert!(tree.truncated);
        assert_eq!(tree.problems.len(), 1);
        assert!(matches!(tree.root.unwrap().value, Value::Map(entries) if !entries.is_empty()));
    }

    #[test]
    fn aliases_tags_and_deep_nests_are_refused_with_their_place() {
        let tree = Tree::read("a: &x 1\nb: *x\nc: !!str 2\n");
        let lines: Vec<_> = tree
            .problems
            .iter()
            .map(|problem| problem.position.line)
            .collect();
        assert_eq!(lines, [1, 2, 3]);
        let deep = Tree::read(&"[".repeat(40));
        assert!(deep.truncated);
        assert_eq!(deep.problems.len(), 1);
    }
}
