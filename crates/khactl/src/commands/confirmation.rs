//! Asks a person before something that cannot be undone; a program has to say `--yes`.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::failure::Failure;

/// `what` is what will be so afterwards; `word` is what the person has to type.
pub(super) fn confirm(doing: &str, what: &str, word: &str) -> Result<(), Failure> {
    let refused = |wrong: &str| {
        Failure::new(
            "KHA0914",
            doing,
            wrong,
            format!("say it again with `{word}`, or with --yes"),
        )
    };
    if !io::stdin().is_terminal() {
        return Err(refused("it cannot be undone, and there is nobody to ask"));
    }
    let asked =
        write!(io::stderr(), "{what}. Type {word} to go on: ").and_then(|()| io::stderr().flush());
    let mut answer = String::new();
    let heard = asked.and_then(|()| io::stdin().lock().read_line(&mut answer));
    match heard {
        Ok(_) if answer.trim() == word => Ok(()),
        _ => Err(refused("that was another word")),
    }
}
