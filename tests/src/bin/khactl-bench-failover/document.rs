//! A document in which figures are put anew, between two lines that mark their place. Pure.

use anyhow::{Context, bail};

/// The document with `text` between `<!-- NAME begin -->` and `<!-- NAME end -->`.
pub(crate) fn put(document: &str, name: &str, text: &str) -> anyhow::Result<String> {
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
