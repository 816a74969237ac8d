//! Runs `ip`, `nft` and the like to their end; what they say becomes part of the error.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::error::{LabError, Result};

/// Runs a program without input; gives its standard output.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<String> {
    feed(program, args, "")
}

/// Runs a program with `input` on its standard input; gives its standard output.
pub(crate) fn feed(program: &str, args: &[&str], input: &str) -> Result<String> {
    let spawned = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let spawn_error = |source| LabError::Spawn {
        program: program.to_owned(),
        source,
    };
    let mut child = spawned.map_err(spawn_error)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends before it has read everything says why in its own words below.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(spawn_error)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(LabError::Tool {
        command: format!("{program} {}", args.join(" ")),
        output: format!("{} ({})", said.trim(), output.status),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_failed_program_are_in_the_error() {
        assert_eq!(feed("cat", &[], "fed").unwrap(), "fed");
        let error = run("sh", &["-c", "echo no such bridge >&2; exit 3"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("no such bridge") && error.contains("exit status: 3"),
            "{error}"
        );
        assert!(matches!(
            run("/nonexistent/ip", &[]),
            Err(LabError::Spawn { .. })
        ));
    }
}
