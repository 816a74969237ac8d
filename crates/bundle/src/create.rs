//! Makes a bundle: brings the programs together, verifies them, writes the one file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde::Serialize;
use tar::{Archive, EntryType};

use crate::access::Access;
use crate::archive;
use crate::digest;
use crate::download::{Downloads, Patience, Progress};
use crate::elf;
use crate::error::BundleError;
use crate::manifest::{MANIFEST, Manifest, PROGRAM_BYTES_MAX, ProgramEntry};
use crate::source::{self, ETCD, ETCD_SINCE_3_5, KUBERNETES, Source};
use crate::staging::make_folder;

/// What to make.
#[derive(Debug, Clone)]
pub struct Order {
    /// Version of Kubernetes, with or without the `v`.
    pub kubernetes: String,
    /// Version of etcd, with or without the `v`.
    pub etcd: String,
    /// Processor in Debian's words.
    pub arch: String,
    /// Where the programs come from.
    pub source: Source,
    /// How a site is reached.
    pub access: Access,
    /// The file to make; into a folder it goes under a name with its digest.
    pub out: PathBuf,
    /// How long a site is borne with.
    pub patience: Patience,
}

/// A bundle that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Made {
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of the manifest, and by it of every program.
    pub digest: String,
    /// SHA-256 of the file, as `sha256sum` prints it.
    pub sha256: String,
    /// Bytes of the file.
    pub size: u64,
}

/// Makes it. What was fetched is kept beside the file until that is there: another run goes on from it.
///
/// # Errors
/// A program is missing, wrong, or for another processor; the source does not answer; the disk.
pub fn create(order: &Order, tell: &mut dyn FnMut(Progress<'_>)) -> Result<Made, BundleError> {
    let kubernetes = format!(
        "v{}",
        source::version("Kubernetes' version", &order.kubernetes)?
    );
    let etcd = source::version("etcd's version", &order.etcd)?;
    let arch = source::arch(&order.arch)?;
    let into_folder = order.out.is_dir();
    let stem = format!("khactl-bundle-{kubernetes}-etcd-{etcd}-{arch}");
    let begun = if into_folder {
        order.out.join(&stem)
    } else {
        order.out.clone()
    };
    let parts = with_suffix(&begun, ".parts");

    let wanted = Wanted {
        kubernetes: &kubernetes,
        etcd: &etcd,
        arch: &arch,
    };
    let folder = match &order.source {
        Source::Folder(folder) => folder.clone(),
        site => {
            make_folder(&parts)?;
            let mut downloads = Downloads::new(&order.access, order.patience, tell);
            fetch(site, &wanted, &parts, &mut downloads)?;
            parts.clone()
        }
    };
    let manifest = wanted.manifest(&folder)?;
    tell(Progress::Packing);
    let text = manifest.bytes();
    let digest = digest::of_bytes(&text);
    let out = if into_folder {
        order.out.join(format!("{stem}-{}.tar.gz", &digest[..12]))
    } else {
        order.out.clone()
    };
    let partial = with_suffix(&out, ".partial");
    archive::pack(&manifest, |program| folder.join(program), &partial)?;
    let (size, sha256) = measure(&partial)?;
    fs::rename(&partial, &out).map_err(BundleError::file("write", &out))?;
    if parts.is_dir() {
        fs::remove_dir_all(&parts).map_err(BundleError::file("remove", &parts))?;
    }
    Ok(Made {
        path: out,
        digest,
        sha256,
        size,
    })
}

struct Wanted<'a> {
    kubernetes: &'a str,
    etcd: &'a str,
    arch: &'a str,
}

impl Wanted<'_> {
    fn programs(&self) -> Vec<&'static str> {
        let mut programs: Vec<_> = KUBERNETES.into_iter().chain(ETCD).collect();
        if has_etcdutl(self.etcd) {
            programs.push(ETCD_SINCE_3_5);
        }
        programs
    }

    /// Of the programs that lie in `folder`. What the folder itself says of them, in a manifest or a checksum
    /// beside one, has to be so.
    fn manifest(&self, folder: &Path) -> Result<Manifest, BundleError> {
        let mut programs = BTreeMap::new();
        for program in self.programs() {
            let path = folder.join(program);
            if !path.is_file() {
                return Err(BundleError::ProgramAbsent {
                    place: folder.display().to_string(),
                    program: program.to_owned(),
                });
            }
            elf::check(program, &path, self.arch)?;
            let (size, sha256) = measure(&path)?;
            let beside = folder.join(format!("{program}.sha256"));
            if let Ok(text) = fs::read_to_string(&beside) {
                let expected = sum_in(&text, program, &beside.display().to_string())?;
                same(&path.display().to_string(), &expected, &sha256)?;
            }
            let version = if KUBERNETES.contains(&program) {
                self.kubernetes
            } else {
                self.etcd
            };
            programs.insert(
                program.to_owned(),
                ProgramEntry {
                    file: program.into(),
                    version: version.to_owned(),
                    sha256,
                    size,
                },
            );
        }
        let manifest = Manifest {
            kubernetes: self.kubernetes.to_owned(),
            etcd: self.etcd.to_owned(),
            arch: self.arch.to_owned(),
            programs,
        };
        self.agree(folder, &manifest)?;
        Ok(manifest)
    }

    /// A folder that is a bundle's says itself what it holds.
    fn agree(&self, folder: &Path, manifest: &Manifest) -> Result<(), BundleError> {
        let Ok(text) = fs::read(folder.join(MANIFEST)) else {
            return Ok(());
        };
        let there = Manifest::parse(&text).map_err(|reason| BundleError::Manifest { reason })?;
        for (what, found, wanted) in [
            ("kubernetes", &there.kubernetes, self.kubernetes),
            ("etcd", &there.etcd, self.etcd),
            ("arch", &there.arch, self.arch),
        ] {
            if found != wanted {
                return Err(BundleError::Manifest {
                    reason: format!(
                        "{what} in {} is {found}, and {wanted} was asked for",
                        folder.display()
                    ),
                });
            }
        }
        for (program, entry) in &manifest.programs {
            let listed = there.programs.get(program);
            if let Some(listed) = listed.filter(|listed| listed.sha256 != entry.sha256) {
                return Err(BundleError::Altered {
                    program: program.clone(),
                    expected: format!("SHA-256 {}", listed.sha256),
                    found: format!("SHA-256 {}", entry.sha256),
                });
            }
        }
        Ok(())
    }
}

/// Brings every program into `parts`, each as its checksum says.
fn fetch(
    site: &Source,
    wanted: &Wanted<'_>,
    parts: &Path,
    downloads: &mut Downloads<'_>,
) -> Result<(), BundleError> {
    for program in KUBERNETES {
        let url = site.kubernetes(wanted.kubernetes, wanted.arch, program);
        let list = format!("{url}.sha256");
        let expected = sum_in(&downloads.text(&list)?, program, &list)?;
        downloads.file(&url, &expected, &parts.join(program))?;
    }
    let release = site.etcd(wanted.etcd);
    let name = format!("etcd-v{}-linux-{}", wanted.etcd, wanted.arch);
    let archive = format!("{name}.tar.gz");
    let list = format!("{release}/SHA256SUMS");
    let expected = sum_in(&downloads.text(&list)?, &archive, &list)?;
    let path = parts.join(&archive);
    downloads.file(&format!("{release}/{archive}"), &expected, &path)?;
    let mut programs: Vec<_> = ETCD.into();
    if has_etcdutl(wanted.etcd) {
        programs.push(ETCD_SINCE_3_5);
    }
    take_out(&path, &name, &programs, parts)
}

/// The SHA-256 of `file` in a list of `DIGEST  NAME` lines, or a text that is a digest alone.
fn sum_in(list: &str, file: &str, place: &str) -> Result<String, BundleError> {
    let alone = Some(list.trim()).filter(|text| !text.contains(char::is_whitespace));
    let named = || {
        list.lines().find_map(|line| {
            let (sum, name) = line.split_once(char::is_whitespace)?;
            (name.trim().trim_start_matches(['*', '.', '/']) == file).then_some(sum)
        })
    };
    alone
        .or_else(named)
        .map(str::to_ascii_lowercase)
        .filter(|sum| digest::is_hex(sum))
        .ok_or_else(|| BundleError::NoSum {
            url: place.to_owned(),
            file: file.to_owned(),
        })
}

/// Takes `programs` out of etcd's release, and nothing else.
fn take_out(path: &Path, top: &str, programs: &[&str], into: &Path) -> Result<(), BundleError> {
    let damaged = |error: io::Error| BundleError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let file = File::open(path).map_err(BundleError::file("read", path))?;
    let mut archive = Archive::new(GzDecoder::new(io::BufReader::new(file)));
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let wanted = programs
            .iter()
            .find(|program| name == format!("{top}/{program}"));
        let Some(program) = wanted else {
            continue;
        };
        if entry.header().entry_type() != EntryType::Regular || entry.size() > PROGRAM_BYTES_MAX {
            return Err(BundleError::Unsafe {
                path: path.to_owned(),
                reason: format!("{name:?} in it is no plain file of a size that makes sense"),
            });
        }
        let target = into.join(program);
        let mut out = File::create(&target).map_err(BundleError::file("write", &target))?;
        io::copy(&mut entry.by_ref().take(PROGRAM_BYTES_MAX), &mut out)
            .map_err(BundleError::file("write", &target))?;
    }
    Ok(())
}

/// Size in bytes and SHA-256.
fn measure(path: &Path) -> Result<(u64, String), BundleError> {
    let read = || -> io::Result<(u64, String)> {
        let file = File::open(path)?;
        Ok((file.metadata()?.len(), digest::of_reader(file)?))
    };
    read().map_err(BundleError::file("read", path))
}

fn same(what: &str, expected: &str, found: &str) -> Result<(), BundleError> {
    if expected == found {
        return Ok(());
    }
    Err(BundleError::WrongSum {
        what: what.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
    })
}

/// etcd took `etcdutl` out of `etcdctl` with 3.5.
fn has_etcdutl(version: &str) -> bool {
    let mut numbers = version
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(3), Some(5))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
