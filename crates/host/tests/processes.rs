//! Supervised processes with real programs: started, ended, replaced, adopted, never lost.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use khactl_host::HostError;
use khactl_host::process::{Ensured, ProcessSpec, Processes};
use khactl_model::component::ComponentName;
use khactl_model::facts::ProcessFact;
use khactl_sys::clock;
use khactl_sys::pidfd::PidFd;
use khactl_sys::process_stat::ProcessStat;
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use tokio::task::JoinSet;

const ETCD: ComponentName = ComponentName::Etcd;

/// Far longer than anything here takes on an idle machine.
const PATIENCE: Duration = Duration::from_mins(1);

fn shell(script: &str, digest: &str) -> ProcessSpec {
    ProcessSpec {
        name: ETCD,
        program: "/bin/sh".into(),
        digest: digest.to_owned(),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: Vec::new(),
        user: None,
    }
}

/// A program that starts no other in its own place.
fn sleeper(digest: &str) -> ProcessSpec {
    ProcessSpec {
        program: "/bin/sleep".into(),
        args: vec!["600".to_owned()],
        ..shell("", digest)
    }
}

async fn open(folder: &Path) -> Processes {
    Processes::open(&folder.join("state"), &folder.join("log"))
        .await
        .unwrap()
}

fn fact(processes: &Processes) -> ProcessFact {
    processes.facts().get(&ETCD).expect("a fact").clone()
}

async fn until(processes: &Processes, wanted: impl Fn(&ProcessFact) -> bool) -> ProcessFact {
    let mut changes = processes.changes();
    let found = async {
        loop {
            let fact = fact(processes);
            if wanted(&fact) {
                return fact;
            }
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, found)
        .await
        .expect("the awaited fact")
}

/// Living processes that carry the mark of the records in `folder`, session leaders alone.
fn leaders(folder: &Path) -> Vec<u32> {
    let id = fs::read_to_string(folder.join("state/processes/id")).unwrap();
    let mark = format!("KHACTL_SUPERVISOR={id}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let marked = environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == mark.as_bytes());
        let leads = ProcessStat::of(pid).is_some_and(|stat| stat.session == pid);
        if marked && leads {
            found.push(pid);
        }
    }
    found
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log/etcd.log")).unwrap_or_default()
}

/// Waits for what a script writes.
async fn until_logged(folder: &Path, text: &str) {
    let mut follow = khactl_host::logs::follow(&folder.join("log"), "etcd").unwrap();
    let found = async {
        while !log(folder).contains(text) {
            follow.next().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, found)
        .await
        .unwrap_or_else(|_| panic!("{text} in {}", log(folder)));
}

#[tokio::test]
async fn a_start_is_known_from_before_its_process_exists_until_the_facts_tell_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let processes = open(folder.path()).await;
    processes.adopt_all("c").await.unwrap();
    processes.ensure(shell("exit 3", "a")).await.unwrap();
    let ended = until(&processes, |fact| fact.exit.is_some()).await;
    assert_eq!(processes.starting(ETCD), None);

    // A start that takes long, wherever in it.
    let lock = fs::File::open(folder.path().join("state/processes/start.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let starting = {
        let processes = processes.clone();
        async move { processes.ensure(shell("exec sleep 600", "a")).await }
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(starting);
    let known = async {
        while processes.starting(ETCD).is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, known).await.unwrap();
    assert_eq!(fact(&processes).pid, ended.pid, "the facts tell of the end");
    drop(lock);
    tasks.join_next().await.unwrap().unwrap().unwrap();
    assert!(fact(&processes).running);
    assert_eq!(processes.starting(ETCD), None);
    processes.stop(ETCD, Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn process_is_started_once_and_replaced_when_its_digest_changes() {
    let folder = tempfile::tempdir().unwrap();
    let processes = open(folder.path()).await;
    processes.adopt_all("c").await.unwrap();
    assert_eq!(
        processes
            .ensure(shell("exec sleep 600", "a"))
            .await
            .unwrap(),
        Ensured::Started
    );
    let first = fact(&processes);
    assert!(first.running && first.pid != 0 && first.started_at_ms > 0);
    assert_eq!(
        processes
            .ensure(shell("exec sleep 600", "a"))
            .await
            .unwrap(),
        Ensured::AlreadyRunning
    );
    assert_eq!(fact(&processes), first);
    assert_eq!(
        processes
            .ensure(shell("exec sleep 601", "b"))
            .await
            .unwrap(),
        Ensured::Replaced
    );
    let second = fact(&processes);
    assert_ne!(second.pid, first.pid);
    assert_eq!((second.digest.as_str(), second.quick_exits), ("b", 0));
    assert_eq!(leaders(folder.path()), [second.pid]);
    processes.stop(ETCD, PATIENCE).await.unwrap();
    let stopped = fact(&processes);
    assert!(!stopped.running);
    assert_eq!(stopped.exit.unwrap().how, "signal 15");
    processes.stop(ETCD, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn process_has_its_own_session_environment_folder_and_log() {
    let folder = tempfile::tempdir().unwrap();
    let processes = open(folder.path()).await;
    processes.adopt_all("prod").await.unwrap();
    let mut spec = shell(
        "pwd; env; echo to stderr >&2; ls /proc/$$/fd | tr '\\n' ' '; echo; exec sleep 600",
        "a",
    );
    spec.env = vec![("GOMAXPROCS".to_owned(), "1".to_owned())];
    processes.ensure(spec).await.unwrap();
    until_logged(folder.path(), "0 1 2 ").await;
    let log = log(folder.path());
    assert!(log.starts_with("/\n"), "{log}");
    assert!(
        log.contains("GOMAXPROCS=1") && log.contains("to stderr"),
        "{log}"
    );
    assert!(
        log.contains("KHACTL_COMPONENT=etcd") && log.contains("KHACTL_CLUSTER=prod"),
        "{log}"
    );
    assert!(
        !log.contains("CARGO"),
        "the supervisor's environment is not passed on: {log}"
    );
    assert_eq!(leaders(folder.path()), [fact(&processes).pid]);
    processes.stop(ETCD, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn stop_kills_grandchildren_that_ignore_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let processes = open(folder.path()).await;
    processes.adopt_all("c").await.unwrap();
    // The grandchild has no mark in its environment: its session alone shows whose it is.
    let script = "trap '' TERM; env -i /bin/sh -c 'trap \"\" TERM; echo pid $$; while :; do sleep 1; done' & wait; wait";
    processes.ensure(shell(script, "a")).await.unwrap();
    until_logged(folder.path(), "pid ").await;
    let grandchild: u32 = log(folder.path())
        .trim()
        .trim_start_matches("pid ")
        .parse()
        .unwrap();
    let held = PidFd::open(grandchild).unwrap();
    processes
        .stop(ETCD, Duration::from_millis(100))
        .await
        .unwrap();
    assert!(held.has_ended().unwrap(), "the grandchild survived");
    assert_eq!(fact(&processes).exit.unwrap().how, "signal 9");
}

#[tokio::test]
async fn quick_ends_are_counted_with_their_codes() {
    let folder = tempfile::tempdir().unwrap();
    let processes = open(folder.path()).await;
    processes.adopt_all("c").await.unwrap();
    for ends in 1..=3 {
        processes.ensure(shell("exit 7", "a")).await.unwrap();
        let ended = until(&processes, |fact| !fact.running).await;
        assert_eq!(ended.exit.unwrap().how, "exit code 7");
        assert_eq!(ended.quick_exits, ends);
    }
    processes
        .ensure(shell("exec sleep 600", "a"))
        .await
        .unwrap();
    let next = fact(&processes);
    assert_eq!(
        (next.exit, next.last_exit.unwrap().how.as_str()),
        (None, "exit code 7"),
        "the next one knows how the one before it ended"
    );
    processes.stop(ETCD, PATIENCE).await.unwrap();
    processes.ensure(shell("exit 7", "a")).await.unwrap();
    until(&processes, |fact| !fact.running).await;
    let again = open(folder.path()).await;
    again.adopt_all("c").await.unwrap();
    assert_eq!(
        fact(&again).quick_exits,
        1,
        "counted over a restart of the supervisor"
    );
}

#[tokio::test]
async fn ends_with_other_arguments_are_counted_anew() {
    let folder = tempfile::tempdir().unwrap();
    let processes = open(folder.path()).await;
    processes.adopt_all("c").await.unwrap();
    for (digest, ends) in [("a", 1), ("a", 2), ("b", 1), ("a", 1)] {
        let before = processes.facts().remove(&ETCD).map_or(0, |fact| fact.pid);
        processes.ensure(shell("exit 7", digest)).await.unwrap();
        let ended = until(&processes, |fact| !fact.running && fact.pid != before).await;
        assert_eq!(
            (ended.digest.as_str(), ended.quick_exits),
            (digest, ends),
            "{ended:?}"
        );
    }
}

#[tokio::test]
async fn hung_process_is_ended_although_it_hears_nothing_and_its_end_counts() {
    let folder = tempfile::tempdir().unwrap();
    let processes = open(folder.path()).await;
    processes.adopt_all("c").await.unwrap();
    processes
        .ensure(shell("exec sleep 600", "a"))
        .await
        .unwrap();
    let pid = fact(&processes).pid;
    PidFd::open(pid).unwrap().send(Signal::STOP).unwrap();
    // Of two signals that wait for a process it would get the lower number first.
    let deadline = clock::monotonic() + PATIENCE;
    while !ProcessStat::of(pid).is_some_and(|stat| stat.is_stopped()) {
        assert!(clock::monotonic() < deadline, "it does not stop");
        tokio::task::yield_now().await;
    }
    let grace = Duration::from_millis(100);
    processes
        .end_hung(ETCD, pid + 1, grace, "no answer")
        .await
        .unwrap();
    assert!(fact(&processes).running, "another process is meant");
    processes
        .end_hung(ETCD, pid, grace, "no answer")
        .await
        .unwrap();
    let ended = fact(&processes);
    assert!(!ended.running);
    assert_eq!(ended.quick_exits, 1);
    assert_eq!(
        ended.exit.unwrap().how,
        "ended because no answer (signal 9)"
    );
}

#[tokio::test]
async fn program_that_cannot_be_started_is_an_error_and_a_fact() {
    let folder = tempfile::tempdir().unwrap();
    let processes = open(folder.path()).await;
    processes.adopt_all("c").await.unwrap();
    let mut spec = shell("", "a");
    spec.program = folder.path().join("no-such-program");
    let error = processes.ensure(spec).await.unwrap_err();
    assert!(matches!(error, HostError::Spawn { .. }), "{error}");
    let fact = fact(&processes);
    assert!(!fact.running && fact.quick_exits == 1);
    assert!(fact.exit.unwrap().how.starts_with("could not be started"));
}

#[tokio::test]
async fn adopted_process_is_watched_and_its_exit_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let before = open(folder.path()).await;
    before.adopt_all("c").await.unwrap();
    before.ensure(sleeper("a")).await.unwrap();
    let known = fact(&before);
    drop(before);

    let after = open(folder.path()).await;
    assert_eq!(after.adopt_all("c").await.unwrap(), [ETCD]);
    assert_eq!(
        after.adopt_all("c").await.unwrap(),
        [],
        "adopting twice changes nothing"
    );
    assert_eq!(fact(&after), known);
    assert_eq!(
        after.ensure(sleeper("a")).await.unwrap(),
        Ensured::AlreadyRunning
    );
    PidFd::open(known.pid).unwrap().send(Signal::KILL).unwrap();
    let ended = until(&after, |fact| !fact.running).await;
    assert_eq!(ended.exit.unwrap().how, "unknown (adopted)");
}

#[tokio::test]
async fn a_process_of_another_cluster_is_neither_adopted_nor_ended() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = open(folder.path()).await;
    theirs.adopt_all("theirs").await.unwrap();
    theirs.ensure(sleeper("a")).await.unwrap();
    let foreign = PidFd::open(fact(&theirs).pid).unwrap();
    drop(theirs);

    let ours = open(folder.path()).await;
    assert_eq!(ours.adopt_all("ours").await.unwrap(), []);
    assert!(ours.facts().is_empty(), "its record is not ours either");
    // The first time it is known by its record, later by its marks alone.
    for supervisor in [ours, open(folder.path()).await] {
        assert_eq!(supervisor.adopt_all("ours").await.unwrap(), []);
        assert_eq!(
            supervisor.ensure(sleeper("a")).await.unwrap(),
            Ensured::Started
        );
        assert_ne!(fact(&supervisor).pid, foreign.pid());
        supervisor.stop(ETCD, PATIENCE).await.unwrap();
        assert!(!foreign.has_ended().unwrap(), "it goes on");
    }

    // Who cleans the host ends whatever was started with these records.
    let cleaner = open(folder.path()).await;
    assert_eq!(cleaner.adopt_all("").await.unwrap(), [ETCD]);
    cleaner.stop(ETCD, PATIENCE).await.unwrap();
    assert!(foreign.has_ended().unwrap());
}

#[tokio::test]
async fn a_process_that_runs_another_program_than_it_was_started_from_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let before = open(folder.path()).await;
    before.adopt_all("c").await.unwrap();
    let script = "trap 'exec sleep 600' USR1; echo waits; while :; do sleep 0.05; done";
    before.ensure(shell(script, "a")).await.unwrap();
    until_logged(folder.path(), "waits").await;
    let known = fact(&before);
    drop(before);

    let same = open(folder.path()).await;
    assert_eq!(same.adopt_all("c").await.unwrap(), [ETCD]);
    assert_eq!(fact(&same), known, "it is what was started");
    drop(same);

    PidFd::open(known.pid).unwrap().send(Signal::USR1).unwrap();
    let runs = format!("/proc/{}/exe", known.pid);
    let deadline = clock::monotonic() + PATIENCE;
    while !fs::read_link(&runs).unwrap().ends_with("sleep") {
        assert!(clock::monotonic() < deadline, "it goes on as it was");
        tokio::task::yield_now().await;
    }
    let after = open(folder.path()).await;
    assert_eq!(after.adopt_all("c").await.unwrap(), [ETCD]);
    assert_eq!(
        (fact(&after).pid, fact(&after).digest.as_str()),
        (known.pid, "")
    );
    assert_eq!(after.ensure(sleeper("a")).await.unwrap(), Ensured::Replaced);
    let next = fact(&after);
    assert_eq!((next.digest.as_str(), next.quick_exits), ("a", 0));
    assert_eq!(leaders(folder.path()), [next.pid]);
    after.stop(ETCD, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn process_whose_record_is_lost_is_found_by_its_mark() {
    let folder = tempfile::tempdir().unwrap();
    let before = open(folder.path()).await;
    before.adopt_all("c").await.unwrap();
    before.ensure(shell("exec sleep 600", "a")).await.unwrap();
    let known = fact(&before);
    drop(before);
    for damage in ["{ half", ""] {
        fs::write(folder.path().join("state/processes/etcd.json"), damage).unwrap();
        let after = open(folder.path()).await;
        assert_eq!(after.adopt_all("c").await.unwrap(), [ETCD]);
        assert_eq!(
            (fact(&after).pid, fact(&after).digest.as_str()),
            (known.pid, "")
        );
    }
    let after = open(folder.path()).await;
    after.adopt_all("c").await.unwrap();
    after.stop(ETCD, PATIENCE).await.unwrap();
    assert!(leaders(folder.path()).is_empty());
}

#[tokio::test]
async fn record_of_an_earlier_boot_names_no_process_of_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let before = open(folder.path()).await;
    before.adopt_all("c").await.unwrap();
    before.ensure(shell("exit 1", "a")).await.unwrap();
    until(&before, |fact| !fact.running).await;
    drop(before);
    // Its number now belongs to this test, which must not be taken for it.
    let path = folder.path().join("state/processes/etcd.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record["boot"] = "another".into();
    record["pid"] = std::process::id().into();
    record["exit"] = serde_json::Value::Null;
    fs::write(&path, record.to_string()).unwrap();

    let after = open(folder.path()).await;
    assert_eq!(after.adopt_all("c").await.unwrap(), []);
    let fact = fact(&after);
    assert!(!fact.running && fact.quick_exits == 0);
    assert_eq!(fact.exit.unwrap().how, "unknown (the host restarted)");
}

/// The supervisor that is killed: starts, replaces and stops one process as fast as it can.
async fn supervise_until_killed(folder: &Path) -> ! {
    let processes = open(folder).await;
    processes.adopt_all("c").await.unwrap();
    println!("supervising");
    for round in 0_u64.. {
        processes
            .ensure(shell("exec sleep 600", &round.to_string()))
            .await
            .unwrap();
        if round % 3 == 0 {
            processes.stop(ETCD, PATIENCE).await.unwrap();
        }
    }
    unreachable!("the numbers do not end")
}

#[tokio::test]
async fn killed_supervisor_leaves_no_unknown_process() {
    const FOLDER: &str = "KHACTL_TEST_SUPERVISE";
    const NAME: &str = "killed_supervisor_leaves_no_unknown_process";
    if let Some(folder) = std::env::var_os(FOLDER) {
        supervise_until_killed(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut alive = 0;
    for round in 0..12 {
        let mut supervisor = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines =
            std::io::BufRead::lines(std::io::BufReader::new(supervisor.stdout.take().unwrap()));
        assert!(
            lines.any(|line| line.unwrap().contains("supervising")),
            "it started"
        );
        // A random moment of its work, which takes some milliseconds a round.
        let nanos = khactl_sys::entropy::seed().unwrap() % 60_000_000;
        let moment = clock::monotonic() + Duration::from_nanos(nanos);
        while clock::monotonic() < moment {
            std::hint::spin_loop();
        }
        supervisor.kill().unwrap();
        supervisor.wait().unwrap();

        let processes = open(folder.path()).await;
        let adopted = processes.adopt_all("c").await.unwrap();
        let leaders = leaders(folder.path());
        assert!(
            leaders.len() <= 1,
            "round {round}, after {nanos} ns: {leaders:?}"
        );
        if let Some(pid) = leaders.first() {
            alive += 1;
            assert_eq!(adopted, [ETCD], "round {round}, after {nanos} ns");
            assert_eq!(fact(&processes).pid, *pid);
            assert!(fact(&processes).running);
        } else if processes.facts().contains_key(&ETCD) {
            // One that its supervisor was just ending may have been adopted on its way out.
            until(&processes, |fact| !fact.running).await;
        }
    }
    assert!(
        alive > 0,
        "no kill fell into a moment at which a process ran"
    );
    let processes = open(folder.path()).await;
    processes.adopt_all("c").await.unwrap();
    processes.stop(ETCD, PATIENCE).await.unwrap();
    assert!(leaders(folder.path()).is_empty());
}
