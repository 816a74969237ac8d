//! How a person calls this very program, so that a command that is shown to them can be run as it is
//! printed. It only looks: nothing is installed or linked.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const NAME: &str = "khactl";

/// `khactl` if that is what a shell finds by this name, else this program's path.
pub(super) fn called() -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::current_exe() {
        Ok(this) => called_as(&this, &path),
        Err(_) => NAME.to_owned(),
    }
}

fn called_as(this: &Path, path: &OsStr) -> String {
    let found = std::env::split_paths(path)
        .map(|folder| folder.join(NAME))
        .find(|found| is_program(found));
    let is_this = found.is_some_and(|found| match (found.canonicalize(), this.canonicalize()) {
        (Ok(found), Ok(this)) => found == this,
        _ => false,
    });
    if is_this {
        NAME.to_owned()
    } else {
        quoted(&this.to_string_lossy())
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// As one word of a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(folder: &Path, mode: u32) -> std::path::PathBuf {
        fs::create_dir_all(folder).unwrap();
        let path = folder.join(NAME);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn this_program_is_called_by_its_name_only_where_the_name_finds_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = |name: &str| dir.path().join(name);
        let this = program(&folder("this"), 0o755);
        program(&folder("other"), 0o755);
        program(&folder("data"), 0o644);
        fs::create_dir(folder("linked")).unwrap();
        std::os::unix::fs::symlink(&this, folder("linked").join(NAME)).unwrap();
        let called_with = |folders: &[&str]| {
            let path = std::env::join_paths(folders.iter().map(|name| folder(name))).unwrap();
            called_as(&this, &path)
        };
        let full = this.to_str().unwrap();
        assert_eq!(called_with(&[]), full);
        assert_eq!(called_with(&["empty", "this", "other"]), NAME);
        assert_eq!(called_with(&["data", "linked", "other"]), NAME);
        assert_eq!(called_with(&["other", "this"]), full);
        assert_eq!(called_with(&["data"]), full);
    }

    #[test]
    fn a_path_that_a_shell_would_split_is_quoted() {
        assert_eq!(quoted("/opt/a-b_1.2/khactl"), "/opt/a-b_1.2/khactl");
        assert_eq!(quoted("/my labs/it's"), r"'/my labs/it'\''s'");
    }
}
