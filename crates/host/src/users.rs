//! The unprivileged system users that components run as.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::error::HostError;
use crate::files::{self, Owner};
use crate::offload::offload;

/// Users that a control-plane host has, one per component.
pub const COMPONENT_USERS: [&str; 4] = [
    "khactl-etcd",
    "khactl-apiserver",
    "khactl-controller-manager",
    "khactl-scheduler",
];

/// The local accounts.
const PASSWD: &str = "/etc/passwd";

/// Kept by the system for those who change accounts (lckpwdf(3)).
const LOCK: &str = "/etc/.pwd.lock";

/// Local accounts in a file far larger than this are not something to parse.
const PASSWD_BYTES_MAX: u64 = 16 << 20;

/// How long another `useradd` may hold the lock of `/etc/passwd`.
const LOCK_DEADLINE: Duration = Duration::from_secs(20);

/// An account of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemUser {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
}

impl SystemUser {
    /// As the owner of files.
    pub fn owner(&self) -> Owner {
        Owner {
            uid: self.uid,
            gid: self.gid,
        }
    }
}

/// The local account `name`, if there is one.
pub async fn lookup(name: &str) -> Result<Option<SystemUser>, HostError> {
    let passwd = files::read(PASSWD, PASSWD_BYTES_MAX)
        .await?
        .unwrap_or_default();
    Ok(find(&String::from_utf8_lossy(&passwd), name))
}

/// The system user `name`, made if it is missing: no login shell, no home, a group of its own.
pub async fn ensure(name: &str) -> Result<SystemUser, HostError> {
    if let Some(user) = lookup(name).await? {
        return Ok(user);
    }
    let name = name.to_owned();
    offload(move || make(&name)).await
}

/// `useradd` looks whether the user exists before it takes its lock, and then gives one that was made
/// meanwhile another id. So all agents of a machine take turns.
fn make(name: &str) -> Result<SystemUser, HostError> {
    let fail = |output: String| HostError::CreateUser {
        name: name.to_owned(),
        output,
    };
    let _turn = take_turn().map_err(|error| fail(format!("locking {LOCK}: {error}")))?;
    let deadline = khactl_sys::clock::monotonic() + LOCK_DEADLINE;
    loop {
        let passwd = files::read_now(Path::new(PASSWD), PASSWD_BYTES_MAX)?.unwrap_or_default();
        if let Some(user) = find(&String::from_utf8_lossy(&passwd), name) {
            return Ok(user);
        }
        let output = Command::new("useradd")
            .args(["--system", "--no-create-home", "--home-dir", "/nonexistent"])
            .args(["--shell", "/usr/sbin/nologin", "--user-group", name])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| fail(format!("useradd does not run: {error}")))?;
        let text = String::from_utf8_lossy(&output.stderr)
            .trim()
            .replace('\n', "; ");
        let made = output.status.success();
        if khactl_sys::clock::monotonic() > deadline {
            return Err(fail(format!("{text} (it does not appear in {PASSWD})")));
        }
        if made {
            continue;
        }
        // Somebody else's useradd has the lock, which cannot be waited on, only tried again.
        if !text.contains("lock") {
            return Err(fail(text));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The lock is the whole file's (flock), which is another one than `useradd` takes on it (fcntl).
fn take_turn() -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(LOCK)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

fn find(passwd: &str, name: &str) -> Option<SystemUser> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()? == name;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        found.then(|| SystemUser {
            name: name.to_owned(),
            uid,
            gid,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_is_found_by_its_whole_name_and_broken_lines_are_passed_over() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nkhactl-etcd2:x:7:7::/:/x\nbroken\n\
                      khactl-etcd:x:998:997::/nonexistent:/usr/sbin/nologin\n";
        let user = find(passwd, "khactl-etcd").unwrap();
        assert_eq!((user.uid, user.gid), (998, 997));
        assert_eq!(find(passwd, "khactl"), None);
    }

    #[tokio::test]
    async fn root_is_an_account_of_this_host() {
        assert_eq!(lookup("root").await.unwrap().unwrap().owner(), Owner::ROOT);
        assert_eq!(lookup("khactl-no-such-user").await.unwrap(), None);
    }
}
