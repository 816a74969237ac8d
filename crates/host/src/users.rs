//! The unprivileged system users that components run as.

use std::process::Stdio;
use std::time::Duration;

use crate::error::HostError;
use crate::files::{self, Owner};

/// Users that a control-plane host has, one per component.
pub const COMPONENT_USERS: [&str; 4] = [
    "khactl-etcd",
    "khactl-apiserver",
    "khactl-controller-manager",
    "khactl-scheduler",
];

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
    let passwd = files::read("/etc/passwd", PASSWD_BYTES_MAX)
        .await?
        .unwrap_or_default();
    Ok(find(&String::from_utf8_lossy(&passwd), name))
}

/// The system user `name`, made if it is missing: no login shell, no home, a group of its own.
pub async fn ensure(name: &str) -> Result<SystemUser, HostError> {
    let deadline = khactl_sys::clock::monotonic() + LOCK_DEADLINE;
    loop {
        if let Some(user) = lookup(name).await? {
            return Ok(user);
        }
        let (created, output) = useradd(name).await?;
        // Another agent may have made it between the look and the call.
        if let Some(user) = lookup(name).await? {
            return Ok(user);
        }
        let busy = !created && output.contains("lock");
        if !busy || khactl_sys::clock::monotonic() > deadline {
            return Err(HostError::CreateUser {
                name: name.to_owned(),
                output,
            });
        }
        // The lock of /etc/passwd cannot be waited on, only tried again.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn useradd(name: &str) -> Result<(bool, String), HostError> {
    let output = tokio::process::Command::new("useradd")
        .args(["--system", "--no-create-home", "--home-dir", "/nonexistent"])
        .args(["--shell", "/usr/sbin/nologin", "--user-group", name])
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| HostError::CreateUser {
            name: name.to_owned(),
            output: format!("useradd does not run: {error}"),
        })?;
    let text = String::from_utf8_lossy(&output.stderr)
        .trim()
        .replace('\n', "; ");
    Ok((output.status.success(), text))
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
