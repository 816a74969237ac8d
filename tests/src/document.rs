//! A document in which figures are put anew, between two lines that mark their place.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

/// Puts `text` into the document `file`, between `<!-- NAME begin -->` and `<!-- NAME end -->`.
pub fn put_into(file: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let shown = file.display();
    let document = fs::read_to_string(file).with_context(|| format!("cannot read {shown}"))?;
    let document = put(&document, name, text).with_context(|| format!("cannot edit {shown}"))?;
    fs::write(file, document).with_context(|| format!("cannot write {shown}"))
}

fn put(document: &str, name: &str, text: &str) -> anyhow::Result<String> {
    let (begin, end) = (
        format!("<!-- {name} begin -->"),
        format!("<!-- {name} end -->"),
    );
    let (before, rest) = document
        .split_once(&begin)
        .with_context(|| format!("the document lacks {begin}"))?;
    let Some((_, after)) = rest.split_once(&end) else {
        bail!("the document lacks {end}");
    };
    Ok(format!("{before}{begin}\n\n{text}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_keeps_its_words_and_gets_the_new_figures() {
        let old = "words\n<!-- a begin -->\nold\n<!-- a end -->\nmore\n";
        let new = put(old, "a", "1 ms\n").unwrap();
        assert_eq!(
            new,
            "words\n<!-- a begin -->\n\n1 ms\n\n<!-- a end -->\nmore\n"
        );
        assert_eq!(put(&new, "a", "1 ms\n").unwrap(), new);
        assert!(put(old, "b", "").is_err());
    }
}
