//! System users and processes that run as them; needs root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use khactl_host::files::{self, Attributes};
use khactl_host::process::{ProcessSpec, Processes};
use khactl_host::users;
use khactl_model::component::ComponentName;

const PATIENCE: Duration = Duration::from_mins(1);

/// Removes an account that a test made.
struct Account(String);

impl Drop for Account {
    fn drop(&mut self) {
        let _ = std::process::Command::new("userdel").arg(&self.0).output();
    }
}

#[tokio::test]
async fn user_made_by_several_at_a_time_has_one_id_for_all() {
    let tag = khactl_sys::entropy::seed().unwrap() & 0xffff_ffff;
    let account = Account(format!("khactl-t{tag:08x}"));
    let made = futures::future::join_all((0..4).map(|_| users::ensure(&account.0))).await;
    let known = users::lookup(&account.0).await.unwrap().unwrap();
    for user in made {
        assert_eq!(user.unwrap(), known);
    }
}

#[tokio::test]
async fn component_users_are_unprivileged_and_cannot_log_in() {
    for name in users::COMPONENT_USERS {
        let made = users::ensure(name).await.unwrap();
        assert_eq!(users::lookup(name).await.unwrap().unwrap(), made);
        assert!(made.uid != 0 && made.gid != 0);
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let lines: Vec<_> = passwd
        .lines()
        .filter(|line| line.starts_with("khactl-scheduler:"))
        .collect();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].ends_with(":/usr/sbin/nologin"), "{}", lines[0]);
}

#[tokio::test]
async fn component_runs_as_its_user_alone_and_its_log_is_its_groups_to_read() {
    let user = users::ensure("khactl-etcd").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let processes = Processes::open(&folder.path().join("state"), &folder.path().join("log"))
        .await
        .unwrap();
    processes.adopt_all("c").await.unwrap();
    let script = "id -u; id -G; cat /proc/self/oom_score_adj; cat /proc/self/cgroup; echo end; exec sleep 600";
    processes
        .ensure(ProcessSpec {
            name: ComponentName::Etcd,
            program: "/bin/sh".into(),
            digest: "a".to_owned(),
            args: vec!["-c".to_owned(), script.to_owned()],
            env: Vec::new(),
            user: Some(user.name.clone()),
        })
        .await
        .unwrap();
    let path = folder.path().join("log/etcd.log");
    let mut follow = khactl_host::logs::follow(&folder.path().join("log"), "etcd").unwrap();
    let written = async {
        while !fs::read_to_string(&path).unwrap().contains("end\n") {
            follow.next().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, written).await.unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], user.uid.to_string());
    assert_eq!(lines[1], user.gid.to_string(), "its own group and no other");
    let found = fs::metadata(&path).unwrap();
    assert_eq!(
        (found.uid(), found.gid(), found.permissions().mode() & 0o777),
        (0, user.gid, 0o640)
    );
    let unified = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .any(|root| fs::metadata(format!("{root}/cgroup.controllers")).is_ok());
    if unified {
        assert!(
            text.contains("0::/khactl/etcd-"),
            "in its own cgroup from its first act: {text}"
        );
    }
    processes.stop(ComponentName::Etcd, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn file_belongs_to_its_user_and_a_wrong_owner_of_a_folder_is_mended() {
    let user = users::ensure("khactl-apiserver").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let pki = folder.path().join("pki");
    files::ensure_dir(&pki, Attributes::mode(0o755))
        .await
        .unwrap();
    files::ensure_dir(&pki, Attributes::owned(0o700, user.owner()))
        .await
        .unwrap();
    let key = pki.join("server.key");
    files::write(
        &key,
        b"secret".to_vec(),
        Attributes::owned(0o600, user.owner()),
    )
    .await
    .unwrap();
    for (path, mode) in [(&pki, 0o700), (&key, 0o600)] {
        let facts = files::facts(path).await.unwrap().unwrap();
        assert_eq!((facts.owner, facts.mode), (user.owner(), mode));
    }
}
