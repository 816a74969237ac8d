//! Where something stands in the operator's file.

use std::collections::BTreeMap;

use serde::Serialize;

/// A place in a text, counted from 1 as editors do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Position {
    /// The first character of the file: the place of what is missing altogether.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// The place of every value that was written down, by field path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Positions {
    by_path: BTreeMap<String, Position>,
    /// For a list: the paths of the items that could be read, in their order.
    items: BTreeMap<String, Vec<String>>,
}

impl Positions {
    pub(crate) fn record(&mut self, path: &str, position: Position) {
        self.by_path.insert(path.to_owned(), position);
    }

    /// Remembers that the next item of the list that was kept is the one at `item`: an item that could not be
    /// read leaves a gap, and later problems must still name the index that the operator wrote.
    pub(crate) fn keep_item(&mut self, list: &str, item: String) {
        self.items.entry(list.to_owned()).or_default().push(item);
    }

    /// The path of the `index`-th item that was kept of a list.
    pub(crate) fn item(&self, list: &str, index: usize) -> String {
        self.items
            .get(list)
            .and_then(|items| items.get(index))
            .cloned()
            .unwrap_or_else(|| format!("{list}[{index}]"))
    }

    /// The place of a field, or of the closest parent that was written down.
    pub(crate) fn find(&self, path: &str) -> Position {
        let mut rest = path;
        loop {
            if let Some(position) = self.by_path.get(rest) {
                return *position;
            }
            match rest.rfind(['.', '[']) {
                Some(end) => rest = &rest[..end],
                None => return self.by_path.get("").copied().unwrap_or(Position::START),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_field_is_placed_at_its_closest_written_parent() {
        let mut positions = Positions::default();
        let vip = Position { line: 4, column: 3 };
        positions.record("spec.vip", vip);
        assert_eq!(positions.find("spec.vip.addresses[0]"), vip);
        assert_eq!(positions.find("metadata.name"), Position::START);
    }
}
