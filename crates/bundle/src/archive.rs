//! The bundle as one file: a tar, compressed with gzip, the manifest first and the programs after it by name.
//!
//! The same programs give the same bytes: no times, no owners. Reading takes nothing that the manifest does not
//! list, so that there is no path, link or device to be careful with.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;
use flate2::{Compression, GzBuilder};
use tar::{Archive, EntryType, Header};

use crate::error::BundleError;
use crate::manifest::{MANIFEST, MANIFEST_BYTES_MAX, Manifest};
use crate::staging::Staging;

/// gzip's word for "no particular system".
const NO_SYSTEM: u8 = 255;
/// Behind tar's end mark, tools fill up to a block of theirs.
const PADDING_MAX: u64 = 64 * 1024;

/// Writes the bundle of programs that were verified; `path_of` says where each lies.
pub(crate) fn pack(
    manifest: &Manifest,
    path_of: impl Fn(&str) -> PathBuf,
    out: &Path,
) -> Result<(), BundleError> {
    let write = |error| BundleError::file("write", out)(error);
    let file = File::create(out).map_err(write)?;
    let zip = GzBuilder::new()
        .mtime(0)
        .operating_system(NO_SYSTEM)
        .write(BufWriter::new(file), Compression::default());
    let mut tar = tar::Builder::new(zip);
    let text = manifest.bytes();
    append(
        &mut tar,
        MANIFEST,
        0o644,
        text.len() as u64,
        text.as_slice(),
    )
    .map_err(write)?;
    for (program, entry) in &manifest.programs {
        let path = path_of(program);
        let file = File::open(&path).map_err(BundleError::file("read", &path))?;
        append(&mut tar, program, 0o755, entry.size, file).map_err(write)?;
    }
    tar.into_inner()
        .and_then(flate2::write::GzEncoder::finish)
        .and_then(|mut buffer| {
            buffer.flush()?;
            buffer.get_ref().sync_all()
        })
        .map_err(write)
}

fn append(
    tar: &mut tar::Builder<impl io::Write>,
    name: &str,
    mode: u32,
    size: u64,
    data: impl Read,
) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_path(name)?;
    header.set_cksum();
    tar.append(&header, data)
}

/// A bundle's file that is being read.
pub(crate) struct Reader {
    path: PathBuf,
    archive: Archive<GzDecoder<BufReader<File>>>,
}

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Self, BundleError> {
        let file = File::open(path).map_err(BundleError::file("read", path))?;
        Ok(Self {
            path: path.to_owned(),
            archive: Archive::new(GzDecoder::new(BufReader::new(file))),
        })
    }

    /// The manifest's text. It stands first, so that nothing else is read of a bundle that is not wanted.
    pub(crate) fn manifest(&mut self) -> Result<Vec<u8>, BundleError> {
        let path = self.path.clone();
        let damaged = |error: io::Error| damaged(&path, &error);
        let mut entries = self.archive.entries().map_err(damaged)?;
        let mut first = match entries.next() {
            Some(first) => first.map_err(damaged)?,
            None => {
                return Err(BundleError::Damaged {
                    path,
                    reason: "it is empty".to_owned(),
                });
            }
        };
        let name = name_of(&first);
        if name != MANIFEST || first.header().entry_type() != EntryType::Regular {
            return Err(BundleError::Damaged {
                path,
                reason: format!("it begins with {name:?} and not with {MANIFEST}"),
            });
        }
        if first.size() > MANIFEST_BYTES_MAX {
            return Err(BundleError::Unsafe {
                path,
                reason: format!("its manifest has {} bytes", first.size()),
            });
        }
        let mut text = Vec::new();
        first.read_to_end(&mut text).map_err(damaged)?;
        Ok(text)
    }

    /// Writes every program of the manifest into `staging`, which verifies them.
    pub(crate) fn unpack(self, staging: &Staging) -> Result<(), BundleError> {
        let path = self.path;
        let mut archive = Self::open(&path)?.archive;
        let refuse = |reason: String| BundleError::Unsafe {
            path: path.clone(),
            reason,
        };
        let mut missing: BTreeSet<&str> = staging
            .manifest()
            .programs
            .keys()
            .map(String::as_str)
            .collect();
        let entries = archive.entries().map_err(|error| damaged(&path, &error))?;
        for (at, entry) in entries.enumerate() {
            let mut entry = entry.map_err(|error| damaged(&path, &error))?;
            let name = name_of(&entry);
            if entry.header().entry_type() != EntryType::Regular {
                return Err(refuse(format!("{name:?} in it is no plain file")));
            }
            // The manifest, which was read before.
            if at == 0 {
                continue;
            }
            let Some(program) = missing.take(name.as_str()) else {
                return Err(refuse(format!(
                    "{name:?} in it is not listed in its manifest, or comes twice"
                )));
            };
            let size = staging.manifest().programs[program].size;
            if entry.size() != size {
                return Err(BundleError::Altered {
                    program: program.to_owned(),
                    expected: format!("{size} bytes"),
                    found: format!("{} bytes", entry.size()),
                });
            }
            // What an import that was killed left is not gone on from: the file is here.
            let target = staging.path(program);
            let mut file = File::create(&target).map_err(BundleError::file("write", &target))?;
            copy(&mut entry, &mut file, &path, &target)?;
            staging.verify(program)?;
        }
        if let Some(program) = missing.first() {
            return Err(BundleError::Damaged {
                reason: format!("{program} is missing"),
                path,
            });
        }
        end(archive.into_inner(), &path)
    }
}

/// Copies so that a bad bundle and a bad disk are told apart.
fn copy(
    from: &mut impl Read,
    to: &mut File,
    bundle: &Path,
    target: &Path,
) -> Result<(), BundleError> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to
                .write_all(&buffer[..count])
                .map_err(BundleError::file("write", target))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(damaged(bundle, &error)),
        }
    }
}

/// Reads to gzip's own checksum: a file that was cut off has none.
fn end(mut rest: GzDecoder<BufReader<File>>, path: &Path) -> Result<(), BundleError> {
    let mut padding = Vec::new();
    (&mut rest)
        .take(PADDING_MAX + 1)
        .read_to_end(&mut padding)
        .map_err(|error| damaged(path, &error))?;
    let mut behind = [0];
    let more = rest.into_inner().read(&mut behind);
    if padding.len() as u64 > PADDING_MAX
        || padding.iter().any(|byte| *byte != 0)
        || more.map_err(|error| damaged(path, &error))? != 0
    {
        return Err(BundleError::Unsafe {
            path: path.to_owned(),
            reason: "something follows its end".to_owned(),
        });
    }
    Ok(())
}

fn name_of(entry: &tar::Entry<'_, impl Read>) -> String {
    String::from_utf8_lossy(&entry.path_bytes()).into_owned()
}

fn damaged(path: &Path, error: &io::Error) -> BundleError {
    BundleError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}
