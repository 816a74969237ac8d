//! What a component may do: as little as it needs; needs root.

use std::fs;
use std::path::Path;
use std::time::Duration;

use khactl_host::process::{ProcessSpec, Processes};
use khactl_host::users;
use khactl_model::component::ComponentName;
use khactl_sys::pidfd::PidFd;

const ETCD: ComponentName = ComponentName::Etcd;
const APISERVER: ComponentName = ComponentName::KubeApiserver;
const PATIENCE: Duration = Duration::from_mins(1);

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map_or("", str::trim)
}

/// The soft and the hard limit.
fn files_max(limits: &str) -> [u64; 2] {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .unwrap();
    let mut numbers = line
        .split_whitespace()
        .map_while(|number| number.parse().ok());
    [(); 2].map(|()| numbers.next().unwrap())
}

async fn processes_in(folder: &Path) -> Processes {
    let processes = Processes::open(&folder.join("state"), &folder.join("log"))
        .await
        .unwrap();
    processes.adopt_all("c").await.unwrap();
    processes
}

fn sleeping(name: ComponentName) -> ProcessSpec {
    ProcessSpec {
        name,
        program: "/bin/sleep".into(),
        digest: "a".to_owned(),
        args: vec!["600".to_owned()],
        env: Vec::new(),
        user: name.user().map(str::to_owned),
    }
}

#[tokio::test]
async fn component_yields_until_it_serves() {
    if !Path::new("/proc/self/autogroup").exists() {
        eprintln!("not tested: this kernel shares no processors out by session");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let processes = processes_in(folder.path()).await;
    processes.ensure(sleeping(APISERVER)).await.unwrap();
    let pid = processes.facts()[&APISERVER].pid;
    let niceness = || {
        let session = fs::read_to_string(format!("/proc/{pid}/autogroup")).unwrap();
        let (_, niceness) = session.trim().rsplit_once(' ').unwrap();
        niceness.parse::<i32>().unwrap()
    };
    assert_eq!(niceness(), 3);
    // Of another process nobody says that it serves.
    processes.serves(APISERVER, pid + 1).await;
    assert_eq!(niceness(), 3);
    processes.serves(APISERVER, pid).await;
    assert_eq!(niceness(), -3);
    processes.stop(APISERVER, PATIENCE).await.unwrap();
    processes.ensure(sleeping(APISERVER)).await.unwrap();
    let again = processes.facts()[&APISERVER].pid;
    let session = fs::read_to_string(format!("/proc/{again}/autogroup")).unwrap();
    assert!(session.trim().ends_with(" 3"), "{session}");
    processes.stop(APISERVER, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn component_has_no_capability_left_and_gets_none_back() {
    let account = users::ensure(ETCD.user().unwrap()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let processes = processes_in(folder.path()).await;
    processes.ensure(sleeping(ETCD)).await.unwrap();
    let pid = processes.facts()[&ETCD].pid;
    // Its end is waited for below: until then the number is its own.
    let held = PidFd::open(pid).unwrap();
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let status = read("status");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(&status, set), "0000000000000000", "{set}");
    }
    assert_eq!(field(&status, "NoNewPrivs"), "1");
    let own = account.uid.to_string();
    let ids: Vec<&str> = field(&status, "Uid").split_whitespace().collect();
    assert_eq!(ids, [own.as_str(); 4]);
    assert_eq!(field(&status, "Groups"), "");
    // A host may have set a lower limit, which cannot be raised again.
    let most = files_max(&fs::read_to_string("/proc/self/limits").unwrap())[1].min(524_288);
    assert_eq!(files_max(&read("limits")), [most, most]);
    processes.stop(ETCD, PATIENCE).await.unwrap();
    assert!(held.has_ended().unwrap());
}
