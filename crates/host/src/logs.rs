//! Components' logs: rotated by copy and truncate, read from the end, followed.
//!
//! A component writes to its file itself, opened for append: a pipe would die with the agent.
//! Nothing here ever holds a log back or renames the file that is being written to.

mod follow;
mod stamp;

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::HostError;
use crate::files::Owner;
use crate::offload::offload;

pub use follow::{Follow, follow};

/// A log is rotated when it is larger than this many bytes (docs/operations.md).
pub const ROTATE_BYTES: u64 = 50 << 20;

/// Rotated files that are kept, `.1` the newest.
pub const KEPT: u32 = 5;

/// Lines that one call gives at the most.
pub const LINES_MAX: usize = 100_000;

/// The part of a line that is kept.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// The log of `component` in `dir`.
pub fn path(dir: &Path, component: &str) -> PathBuf {
    dir.join(format!("{component}.log"))
}

/// Opens a component's log for append, 0640 and owned by root and the component's group: the
/// component has it open already and needs no right to open it again.
pub(crate) fn open(path: &Path, group: u32) -> Result<File, HostError> {
    let fail = |error| HostError::write(path)(error);
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(fail)?;
    let found = file.metadata().map_err(fail)?;
    if rustix::process::geteuid().is_root() && (found.uid(), found.gid()) != (0, group) {
        std::os::unix::fs::fchown(&file, Some(Owner::ROOT.uid), Some(group)).map_err(fail)?;
    }
    if found.mode() & 0o777 != 0o640 {
        file.set_permissions(fs::Permissions::from_mode(0o640))
            .map_err(fail)?;
    }
    Ok(file)
}

/// Rotates every `*.log` in `dir` that has outgrown [`ROTATE_BYTES`]; says which. To be called
/// every few seconds.
pub async fn rotate(dir: impl Into<PathBuf>) -> Result<Vec<PathBuf>, HostError> {
    let dir = dir.into();
    offload(move || rotate_now(&dir, ROTATE_BYTES)).await
}

fn rotate_now(dir: &Path, limit: u64) -> Result<Vec<PathBuf>, HostError> {
    let mut rotated = Vec::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(rotated),
        Err(error) => return Err(HostError::read(dir)(error)),
    };
    for entry in entries.flatten() {
        let log = entry.path();
        let large = entry
            .metadata()
            .is_ok_and(|found| found.is_file() && found.len() > limit);
        if large && log.extension().is_some_and(|e| e == "log") {
            rotate_one(&log).map_err(HostError::write(&log))?;
            rotated.push(log);
        }
    }
    Ok(rotated)
}

fn numbered(log: &Path, number: u32) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Copies first and truncates last: a crash in between repeats lines and loses none. Lines written
/// between the end of the copy and the truncation are lost; that is a few microseconds, because the
/// copy goes on until it has met the end.
fn rotate_one(log: &Path) -> io::Result<()> {
    let mut source = OpenOptions::new().read(true).write(true).open(log)?;
    let found = source.metadata()?;
    let mut temporary = log.as_os_str().to_owned();
    temporary.push(".rotating");
    let temporary = PathBuf::from(temporary);
    // Of a rotation that was cut short.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut copy = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::fchown(&copy, Some(found.uid()), Some(found.gid()))?;
    }
    copy.set_permissions(fs::Permissions::from_mode(found.mode() & 0o777))?;
    let copied = io::copy(&mut source, &mut copy).and_then(|_| copy.flush());
    if let Err(error) = copied {
        // Of no use when cut short, and in the way of a full disk.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    for number in (1..KEPT).rev() {
        match fs::rename(numbered(log, number), numbered(log, number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(&temporary, numbered(log, 1))?;
    io::copy(&mut source, &mut copy)?;
    source.set_len(0)
}

/// The last `lines` lines of a component, also from rotated files, oldest first; with `since` only
/// those from that time on. A line without a time of its own belongs to the one before it.
pub async fn tail(
    dir: impl Into<PathBuf>,
    component: &str,
    lines: usize,
    since: Option<SystemTime>,
) -> Result<Vec<String>, HostError> {
    let log = path(&dir.into(), component);
    offload(move || tail_now(&log, lines.min(LINES_MAX), since)).await
}

fn tail_now(log: &Path, lines: usize, since: Option<SystemTime>) -> Result<Vec<String>, HostError> {
    let mut kept: VecDeque<String> = VecDeque::new();
    for number in 0..=KEPT {
        let file = if number == 0 {
            log.to_owned()
        } else {
            numbered(log, number)
        };
        let wanted = lines - kept.len();
        let (found, reached) = match tail_of_file(&file, wanted, since) {
            Ok(found) => found,
            // The current log is missing only if the component never ran.
            Err(error) if error.kind() == io::ErrorKind::NotFound && number > 0 => break,
            Err(error) => return Err(HostError::read(&file)(error)),
        };
        for line in found.into_iter().rev() {
            kept.push_front(line);
        }
        if kept.len() >= lines || reached {
            break;
        }
    }
    Ok(kept.into())
}

/// The last lines of one file, and whether it reaches back beyond `since`.
fn tail_of_file(
    path: &Path,
    lines: usize,
    since: Option<SystemTime>,
) -> io::Result<(VecDeque<String>, bool)> {
    let mut file = File::open(path)?;
    let now = khactl_sys::clock::wall();
    if since.is_none() {
        let start = start_of_last_lines(&mut file, lines)?;
        file.seek(SeekFrom::Start(start))?;
    }
    let mut reader = BufReader::new(file);
    let mut kept = VecDeque::new();
    let mut reached = false;
    let mut wanted = true;
    while let Some(line) = read_line(&mut reader)? {
        if let Some(since) = since
            && let Some(at) = stamp::of_line(&line, now)
        {
            wanted = at >= since;
            reached |= !wanted;
        }
        if wanted {
            if kept.len() == lines {
                kept.pop_front();
            }
            if lines > 0 {
                kept.push_back(line);
            }
        }
    }
    Ok((kept, reached))
}

/// Reads a line without its end; what is beyond [`LINE_BYTES_MAX`] is passed over.
fn read_line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if reader
        .by_ref()
        .take(LINE_BYTES_MAX)
        .read_until(b'\n', &mut line)?
        == 0
    {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else {
        reader.skip_until(b'\n')?;
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

/// Where the last `lines` lines of a file begin, found from its end.
fn start_of_last_lines(file: &mut File, lines: usize) -> io::Result<u64> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut block = vec![0; 64 * 1024];
    let mut at = end;
    let mut ends = 0;
    while at > 0 {
        let length = block.len().min(usize::try_from(at).unwrap_or(usize::MAX));
        at -= length as u64;
        file.seek(SeekFrom::Start(at))?;
        let read = &mut block[..length];
        file.read_exact(read)?;
        for (offset, byte) in read.iter().enumerate().rev() {
            let position = at + offset as u64;
            // The end of the last line does not begin another one.
            if *byte == b'\n' && position + 1 < end {
                ends += 1;
                if ends == lines {
                    return Ok(position + 1);
                }
            }
        }
    }
    Ok(if lines == 0 { end } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn rotation_keeps_five_files_and_the_writer_goes_on_in_the_same_one() {
        let dir = tempfile::tempdir().unwrap();
        let log = path(dir.path(), "etcd");
        let mut writer = open(&log, 0).unwrap();
        for round in 0..8 {
            writeln!(writer, "round {round}").unwrap();
            assert_eq!(
                rotate_now(dir.path(), 4).unwrap(),
                std::slice::from_ref(&log)
            );
        }
        writeln!(writer, "last").unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), "last\n");
        assert_eq!(fs::read_to_string(numbered(&log, 1)).unwrap(), "round 7\n");
        assert_eq!(
            fs::read_to_string(numbered(&log, KEPT)).unwrap(),
            "round 3\n"
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 6);
        let mode = fs::metadata(numbered(&log, 1)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o640);
    }

    #[test]
    fn small_logs_and_other_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(path(dir.path(), "etcd"), "small").unwrap();
        fs::write(dir.path().join("notes.txt"), "as large as it likes").unwrap();
        assert!(rotate_now(dir.path(), 10).unwrap().is_empty());
        assert!(
            rotate_now(&dir.path().join("missing"), 10)
                .unwrap()
                .is_empty()
        );
    }

    #[tokio::test]
    async fn tail_goes_back_into_rotated_files() {
        let dir = tempfile::tempdir().unwrap();
        let log = path(dir.path(), "etcd");
        fs::write(numbered(&log, 1), "a\nb\n").unwrap();
        fs::write(&log, "c\nd\n").unwrap();
        assert_eq!(
            tail(dir.path(), "etcd", 3, None).await.unwrap(),
            ["b", "c", "d"]
        );
        assert_eq!(tail(dir.path(), "etcd", 1, None).await.unwrap(), ["d"]);
        assert_eq!(
            tail(dir.path(), "etcd", 9, None).await.unwrap(),
            ["a", "b", "c", "d"]
        );
        assert!(tail(dir.path(), "etcd", 0, None).await.unwrap().is_empty());
        assert!(tail(dir.path(), "never-ran", 1, None).await.is_err());
    }

    #[tokio::test]
    async fn tail_since_a_time_takes_the_lines_without_one_along() {
        let dir = tempfile::tempdir().unwrap();
        let text = "{\"level\":\"info\",\"ts\":\"2026-11-23T05:00:00.000Z\",\"msg\":\"old\"}\n  of old\n\
                    {\"level\":\"info\",\"ts\":\"2026-11-23T06:00:00.000Z\",\"msg\":\"new\"}\n  of new\n";
        fs::write(path(dir.path(), "etcd"), text).unwrap();
        // 2026-11-23T05:30:00Z
        let since = SystemTime::UNIX_EPOCH + Duration::from_mins(29_923_530);
        let lines = tail(dir.path(), "etcd", 10, Some(since)).await.unwrap();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("new"));
        assert_eq!(lines[1], "  of new");
    }

    #[test]
    fn a_line_without_end_is_cut_and_the_next_one_found() {
        let text = format!("{}\nnext\n", "x".repeat(100_000));
        let mut reader = text.as_bytes();
        let long = read_line(&mut reader).unwrap().unwrap();
        assert_eq!(long.len() as u64, LINE_BYTES_MAX);
        assert_eq!(read_line(&mut reader).unwrap().as_deref(), Some("next"));
        assert_eq!(read_line(&mut reader).unwrap(), None);
    }
}
