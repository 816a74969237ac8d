//! `khactl manual`: the man pages, for whoever makes a package.

use std::io;
use std::path::Path;

use clap::CommandFactory;

use crate::cli::Cli;
use crate::failure::Failure;

pub(super) fn run(into: &Path) -> Result<(), Failure> {
    write(into).map_err(|error| Failure::unwritten(&error))
}

/// `khactl.1`, and one page for each command that is not hidden.
fn write(into: &Path) -> io::Result<()> {
    clap_mangen::generate_to(Cli::command(), into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_is_shown_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path()).unwrap();
        let page = |name: &str| dir.path().join(format!("khactl{name}.1")).is_file();
        assert!(page("") && page("-init") && page("-token-create"));
        assert!(!page("-manual") && !page("-lab-probe"));
    }
}
