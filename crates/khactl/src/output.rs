//! Printing: tables for people, JSON and YAML for programs.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, TableStyle};
use serde::Serialize;

use crate::cli::Format;
use crate::failure::{Failure, chain};

/// stdout, in the format that was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) format: Format,
}

impl Output {
    /// A person looks at it, now.
    pub(crate) fn is_live(self) -> bool {
        self.format == Format::Table && io::stdout().is_terminal()
    }

    /// `value` for programs, `text` for people.
    pub(crate) fn show(
        self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let shown = match self.format {
            Format::Table => text(),
            Format::Json => serde_json::to_string_pretty(value).map_err(|e| unprintable(&e))?,
            Format::Yaml => serde_saphyr::to_string(value).map_err(|e| unprintable(&e))?,
        };
        line(shown.trim_end())
    }
}

/// One line, or several, and at once.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::unwritten(&error))
}

/// Bytes as they are, and at once.
pub(crate) fn bytes(data: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(data)
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::unwritten(&error))
}

/// A table whose columns are parted by spaces alone, as other tools can cut them too.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(TableStyle::new())
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    let columns = table.column_count();
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if at + 1 == columns { 0 } else { 2 }));
    }
    let lines: Vec<_> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

fn unprintable(error: &dyn std::error::Error) -> Failure {
    Failure::new(
        "KHA0910",
        "print the result",
        chain(error),
        "use another -o",
    )
}
