//! A bundle on its way into its place: a folder beside that, which nobody takes for a bundle yet.
//!
//! ```text
//! begin ─► files come, at once or over several runs ─► commit: verified, on the disk, renamed
//! ```
//!
//! What another run left is used again where it belongs to the same digest, and removed otherwise.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::digest;
use crate::elf;
use crate::error::BundleError;
use crate::manifest::{MANIFEST, Manifest, ProgramEntry, host_arch};

/// So much of a digest tells two staging folders apart.
const DIGEST_SHOWN: usize = 16;

/// A bundle that is not whole yet.
#[derive(Debug)]
pub struct Staging {
    target: PathBuf,
    folder: PathBuf,
    manifest: Manifest,
    text: Vec<u8>,
    digest: String,
}

impl Staging {
    /// For the bundle with that manifest, which is to lie at `target`. `target`'s folder is made where it is
    /// missing.
    ///
    /// # Errors
    /// The manifest makes no sense, or is for another processor than this host's; the disk.
    pub fn begin(target: &Path, text: &[u8]) -> Result<Self, BundleError> {
        let manifest = Manifest::parse_for_travel(text)?;
        if manifest.arch != host_arch() {
            return Err(BundleError::WrongArchitecture {
                what: format!("the bundle of Kubernetes {}", manifest.kubernetes),
                found: manifest.arch,
                wanted: host_arch().to_owned(),
            });
        }
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(BundleError::Argument {
                what: "the bundle's folder",
                value: target.display().to_string(),
                advice: "give a folder with a name, for example /opt/khactl/bundles/v1.30.1",
            });
        };
        let digest = digest::of_bytes(text);
        let prefix = format!(".{}.", name.to_string_lossy());
        let own = format!("{prefix}{}.partial", &digest[..DIGEST_SHOWN]);
        make_folder(parent)?;
        for entry in fs::read_dir(parent).map_err(BundleError::file("read", parent))? {
            let entry = entry.map_err(BundleError::file("read", parent))?;
            let left = entry.file_name().to_string_lossy().into_owned();
            if left.starts_with(&prefix) && left.ends_with(".partial") && left != own {
                fs::remove_dir_all(entry.path())
                    .map_err(BundleError::file("remove", &entry.path()))?;
            }
        }
        let folder = parent.join(own);
        make_folder(&folder)?;
        Ok(Self {
            target: target.to_owned(),
            folder,
            manifest,
            text: text.to_vec(),
            digest,
        })
    }

    /// What it will hold.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the manifest, and by it of everything.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Where a program's file belongs.
    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }

    /// A program's file, to write on at its end, and how many bytes of it are there.
    ///
    /// # Errors
    /// The disk.
    pub fn open(&self, program: &str) -> Result<(File, u64), BundleError> {
        let path = self.path(program);
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o755)
            .open(&path)
            .map_err(BundleError::file("write", &path))?;
        let length = file
            .metadata()
            .map_err(BundleError::file("read", &path))?
            .len();
        Ok((file, length))
    }

    /// Compares a program's file with the manifest; what is wrong is thrown away.
    ///
    /// # Errors
    /// What differs.
    pub fn verify(&self, program: &str) -> Result<(), BundleError> {
        let Some(entry) = self.manifest.programs.get(program) else {
            return Err(BundleError::ProgramAbsent {
                place: "the manifest".to_owned(),
                program: program.to_owned(),
            });
        };
        let path = self.path(program);
        let verified = verify(program, &path, entry)
            .and_then(|()| elf::check(program, &path, &self.manifest.arch));
        if verified.is_err() {
            // It is made anew by whoever tries again; that it cannot be removed shows there.
            let _ = fs::remove_file(&path);
        }
        verified
    }

    /// Verifies everything, brings it onto the disk and puts it into its place. Nothing is replaced: of two at
    /// once the first one wins.
    ///
    /// # Errors
    /// A program differs; something else is in the place; the disk.
    pub fn commit(self) -> Result<(), BundleError> {
        for program in self.manifest.programs.keys() {
            self.verify(program)?;
            let path = self.path(program);
            fs::set_permissions(&path, Permissions::from_mode(0o755))
                .and_then(|()| File::open(&path))
                .and_then(|file| file.sync_all())
                .map_err(BundleError::file("write", &path))?;
        }
        let path = self.folder.join(MANIFEST);
        fs::write(&path, &self.text)
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o644)))
            .and_then(|()| File::open(&path)?.sync_all())
            .map_err(BundleError::file("write", &path))?;
        sync_folder(&self.folder)?;
        // A folder that somebody made and put nothing into is in nobody's use; any other one stays.
        let _ = fs::remove_dir(&self.target);
        let moved = renameat_with(CWD, &self.folder, CWD, &self.target, RenameFlags::NOREPLACE);
        match moved {
            Ok(()) => {}
            Err(rustix::io::Errno::EXIST) => return Err(taken(&self.target)),
            Err(error) => return Err(BundleError::file("write", &self.target)(error.into())),
        }
        sync_folder(self.target.parent().unwrap_or(&self.target))
    }

    /// Gives it up and takes away what has come.
    ///
    /// # Errors
    /// The disk.
    pub fn discard(self) -> Result<(), BundleError> {
        fs::remove_dir_all(&self.folder).map_err(BundleError::file("remove", &self.folder))
    }
}

fn verify(program: &str, path: &Path, entry: &ProgramEntry) -> Result<(), BundleError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(BundleError::ProgramAbsent {
                place: "the bundle".to_owned(),
                program: program.to_owned(),
            });
        }
        Err(error) => return Err(BundleError::file("read", path)(error)),
    };
    let size = file
        .metadata()
        .map_err(BundleError::file("read", path))?
        .len();
    let altered = |expected, found| BundleError::Altered {
        program: program.to_owned(),
        expected,
        found,
    };
    if size != entry.size {
        return Err(altered(
            format!("{} bytes", entry.size),
            format!("{size} bytes"),
        ));
    }
    let found = digest::of_reader(file).map_err(BundleError::file("read", path))?;
    if found != entry.sha256 {
        return Err(altered(
            format!("SHA-256 {}", entry.sha256),
            format!("SHA-256 {found}"),
        ));
    }
    Ok(())
}

/// Why nothing may be put at `folder`.
pub(crate) fn taken(folder: &Path) -> BundleError {
    let found = match fs::read(folder.join(MANIFEST)) {
        Ok(text) => digest::of_bytes(&text),
        Err(_) => "one without a manifest".to_owned(),
    };
    BundleError::NameTaken {
        folder: folder.to_owned(),
        found,
    }
}

/// Programs are run from it by users of their own: everybody may enter and nobody but root change it.
pub(crate) fn make_folder(path: &Path) -> Result<(), BundleError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        // The mode of a new folder is less the umask, which keeps everything of an agent to itself.
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755)))
        .map_err(BundleError::file("make", path))
}

fn sync_folder(path: &Path) -> Result<(), BundleError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(BundleError::file("write", path))
}
