//! Everything that can be wrong with a bundle, one variant per action that failed.

use std::io;
use std::path::{Path, PathBuf};

/// Why a bundle was not made, or not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A file or folder could not be read or written.
    #[error("trying to {doing} {} failed; see whether it is there, whether there is room, and whose it is", path.display())]
    File {
        /// What was being done: "read", "write", …
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A version, name, processor or address that makes no sense.
    #[error("{what} `{value}` makes no sense; {advice}")]
    Argument {
        /// What it stands for.
        what: &'static str,
        /// As it was given.
        value: String,
        /// How to write it.
        advice: &'static str,
    },
    /// A file could not be fetched, although it was tried again.
    #[error(
        "fetching {url} failed: {reason}; what has come is kept: run the command again and it goes on from there"
    )]
    Download {
        /// Its address.
        url: String,
        /// What happened last.
        reason: String,
    },
    /// The site's certificate is not believed: nothing was asked of it.
    #[error(
        "{url}: the site's certificate is refused: {reason}; if it is a mirror with an authority of its own, add that to \
         the system's or name its file in SSL_CERT_FILE; if the certificate has ended, compare the clocks"
    )]
    Untrusted {
        /// The address that was asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such file there.
    #[error(
        "{url} is not there ({status}); check the versions, the processor and the mirror's layout"
    )]
    NotThere {
        /// Its address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The list of checksums has none for the file.
    #[error("{url} holds no SHA-256 for {file}; the mirror is incomplete, or it is no such list")]
    NoSum {
        /// Where the checksum should be.
        url: String,
        /// Whose.
        file: String,
    },
    /// What was fetched, twice, is not what its checksum says.
    #[error(
        "{what} has SHA-256 {found}, and its checksum says {expected}; do not use it: somebody changed one of the two"
    )]
    WrongSum {
        /// The file or address.
        what: String,
        /// By the list.
        expected: String,
        /// By its bytes.
        found: String,
    },
    /// The source lacks a program.
    #[error("{place} has no {program}; a bundle is not whole without it")]
    ProgramAbsent {
        /// The folder or archive.
        place: String,
        /// The program.
        program: String,
    },
    /// The file is no bundle, or only a part of one.
    #[error("{} is damaged or cut off: {reason}; copy it again, or make it again", path.display())]
    Damaged {
        /// The bundle's file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The file holds what no bundle holds: a link, a path that leads elsewhere, something twice.
    #[error("{} is refused: {reason}; find out who made it", path.display())]
    Unsafe {
        /// The bundle's file.
        path: PathBuf,
        /// What was found, with its name.
        reason: String,
    },
    /// The manifest says something that cannot be.
    #[error("the manifest is invalid: {reason}; make the bundle again")]
    Manifest {
        /// What is wrong, with the field.
        reason: String,
    },
    /// A program is not the one of the manifest.
    #[error(
        "{program} was altered: it has {found}, the manifest says {expected}; make or fetch the bundle again, and find out who changed it"
    )]
    Altered {
        /// The program.
        program: String,
        /// By the manifest: size or digest.
        expected: String,
        /// By the file.
        found: String,
    },
    /// A bundle or program for another processor.
    #[error("{what} is for {found}, and {wanted} is needed; make the bundle with --arch {wanted}")]
    WrongArchitecture {
        /// The bundle or program.
        what: String,
        /// What it is for.
        found: String,
        /// What it has to be for.
        wanted: String,
    },
    /// Not the bundle that was asked for.
    #[error("the bundle's digest is {found}, and {expected} was asked for; nothing was changed")]
    WrongDigest {
        /// The one that was asked for.
        expected: String,
        /// Its own.
        found: String,
    },
    /// A different bundle has the name already.
    #[error(
        "{} holds another bundle ({found}); components may run from it: import this one under another --name, or move that one away",
        folder.display()
    )]
    NameTaken {
        /// The folder.
        folder: PathBuf,
        /// What is there: a digest, or that it has no manifest.
        found: String,
    },
}

impl BundleError {
    /// `KHA12…`; docs/errors.md has a row for each.
    pub fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "KHA1200",
            Self::Argument { .. } => "KHA1201",
            Self::Download { .. } => "KHA1202",
            Self::NotThere { .. } => "KHA1203",
            Self::NoSum { .. } => "KHA1204",
            Self::WrongSum { .. } => "KHA1205",
            Self::ProgramAbsent { .. } => "KHA1206",
            Self::Damaged { .. } => "KHA1207",
            Self::Unsafe { .. } => "KHA1208",
            Self::Manifest { .. } => "KHA1209",
            Self::Altered { .. } => "KHA1210",
            Self::WrongArchitecture { .. } => "KHA1211",
            Self::WrongDigest { .. } => "KHA1212",
            Self::NameTaken { .. } => "KHA1213",
            Self::Untrusted { .. } => "KHA1214",
        }
    }

    /// A failed system call on a file.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            doing,
            path,
            source,
        }
    }
}
