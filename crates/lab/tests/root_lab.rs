//! Real namespaces: needs root, `ip`, `nft`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use khactl_lab::{Cut, Lab, LabError, LabName, LabOptions, Power, Signal};
use khactl_sys::clock;

/// Long against anything that a lab does; only a broken one reaches it.
const SOON: Duration = Duration::from_secs(10);

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = clock::monotonic() + SOON;
    while !holds() {
        assert!(clock::monotonic() < end, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A lab without agents that this process owns. Every test has a name of its own.
fn lab(name: &str, hosts: usize) -> Lab {
    Lab::up(
        name,
        LabOptions {
            hosts,
            ..LabOptions::default()
        },
    )
    .unwrap()
}

/// Output of a command in a host.
fn said(lab: &Lab, host: &str, script: &str) -> String {
    let output = lab
        .exec(host, "sh")
        .unwrap()
        .args(["-c", script])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Does a frame of `from` reach `to`, and only that? One datagram to a port that nobody has,
/// seen in the receiver's counter. The neighbour is fixed, because ARP needs both ways.
fn frame_reaches(lab: &Lab, from: &str, to: &str) -> bool {
    let target = lab.host(to).unwrap();
    let (mac, address) = (&target.layout().mac, target.address());
    let unclaimed = || {
        said(
            lab,
            to,
            "awk '/^Udp:/ { count = $3 } END { print count }' /proc/net/snmp",
        )
    };
    let before = unclaimed();
    let send = format!(
        "ip neigh replace {address} lladdr {mac} dev eth0 && echo frame >/dev/udp/{address}/7777"
    );
    assert!(
        lab.exec(from, "bash")
            .unwrap()
            .args(["-c", &send])
            .status()
            .unwrap()
            .success()
    );
    // A veth pair and a bridge deliver within the sender's own system call: a frame that has not
    // been counted by now will not come.
    unclaimed() != before
}

fn names_in(folder: &str, prefix: &str) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return BTreeSet::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect()
}

/// Everything on the machine that carries the lab's name.
fn traces(name: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let prefix = format!("kh-{name}-");
    for (folder, prefix) in [
        ("/run/netns", prefix.as_str()),
        ("/sys/fs/cgroup/unified", prefix.as_str()),
        ("/sys/fs/cgroup", prefix.as_str()),
        ("/run/khactl-lab", name),
        ("/var/lib/khactl-lab", name),
    ] {
        found.extend(
            names_in(folder, prefix)
                .into_iter()
                .map(|entry| format!("{folder}/{entry}")),
        );
    }
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    found.extend(
        mounts
            .lines()
            .filter(|line| line.contains(&prefix) || line.contains(&format!("khactl-lab/{name}")))
            .map(str::to_owned),
    );
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(&prefix) {
            found.push(format!("process {}", entry.file_name().to_string_lossy()));
        }
    }
    found
}

#[test]
fn two_hosts_and_the_client_reach_each_other() {
    let lab = lab("reach", 2);
    for (from, to) in [("cp1", "cp2"), ("client", "cp1"), ("cp2", "client")] {
        assert!(frame_reaches(&lab, from, to), "{from} does not reach {to}");
    }
    assert_eq!(said(&lab, "cp2", "cat /proc/sys/kernel/hostname"), "cp2\n");
    assert_eq!(
        lab.host("cp1").unwrap().addresses().unwrap()[0].to_string(),
        "10.77.0.11"
    );
    assert!(matches!(lab.host("cp3"), Err(LabError::UnknownHost { .. })));
}

#[test]
fn a_cut_one_way_leaves_the_other_way_open_and_heals() {
    let lab = lab("cuts", 2);
    lab.cut_one_way("cp1", "cp2").unwrap();
    assert!(!frame_reaches(&lab, "cp1", "cp2"));
    assert!(frame_reaches(&lab, "cp2", "cp1"));
    assert_eq!(lab.status().unwrap().cuts, [Cut::new("cp1", "cp2")]);
    lab.heal("cp2").unwrap();
    assert!(frame_reaches(&lab, "cp1", "cp2"));

    lab.cut("cp1").unwrap();
    lab.cut("cp1").unwrap();
    assert_eq!(lab.status().unwrap().cuts.len(), 4);
    lab.kill("cp1").unwrap();
    lab.start("cp1").unwrap();
    assert!(
        !frame_reaches(&lab, "cp1", "client"),
        "a boot healed the cut"
    );
    lab.heal_all().unwrap();
    assert!(lab.status().unwrap().cuts.is_empty());
    assert!(frame_reaches(&lab, "cp1", "client"));
}

#[test]
fn a_killed_host_loses_orphans_run_folder_and_addresses_but_not_its_disk() {
    let lab = lab("kill", 2);
    let host = lab.host("cp1").unwrap();
    // An orphan in a session of its own, as the components of a dead agent are.
    said(
        &lab,
        "cp1",
        "setsid sleep 4321 >/dev/null 2>&1 & ip addr add 10.77.0.100/24 dev eth0",
    );
    said(
        &lab,
        "cp1",
        "echo gone >/run/khactl/x; echo kept >/var/lib/khactl/x; echo kept >/etc/khactl/x; echo kept >/etc/x",
    );
    let orphans = host.processes_named("sleep");
    assert_eq!(orphans.len(), 1);
    assert!(
        host.addresses()
            .unwrap()
            .contains(&"10.77.0.100".parse().unwrap())
    );

    host.kill().unwrap();
    assert!(!orphans[0].is_running());
    assert_eq!(host.power(), Power::Off);
    assert!(host.addresses().unwrap().is_empty());
    assert!(matches!(host.exec("true"), Err(LabError::HostOff { .. })));
    assert!(frame_reaches(&lab, "client", "cp2"), "the others go on");
    host.kill().unwrap();

    host.start().unwrap();
    assert_eq!(said(&lab, "cp1", "ls /run/khactl"), "");
    assert_eq!(
        said(&lab, "cp1", "cat /var/lib/khactl/x /etc/khactl/x /etc/x"),
        "kept\nkept\nkept\n"
    );
    assert!(
        !host
            .addresses()
            .unwrap()
            .contains(&"10.77.0.100".parse().unwrap())
    );
    assert!(!Path::new("/etc/x").exists() && !Path::new("/etc/khactl/x").exists());
    assert!(frame_reaches(&lab, "cp1", "cp2"));
}

#[test]
fn a_paused_host_stands_still_until_it_is_resumed_and_can_be_killed() {
    let lab = lab("pause", 1);
    let host = lab.host("cp1").unwrap();
    said(
        &lab,
        "cp1",
        "setsid sh -c 'while :; do echo >>/var/log/khactl/beat; sleep 0.01; done' >/dev/null 2>&1 &",
    );
    let beats = || fs::metadata(host.log_dir().join("beat")).map_or(0, |meta| meta.len());
    until("it beats", || beats() > 3);
    host.pause().unwrap();
    assert_eq!(host.power(), Power::Paused);
    let still = beats();
    assert_eq!(said(&lab, "client", "sleep 0.2"), "");
    assert_eq!(beats(), still);
    host.resume().unwrap();
    assert_eq!(host.power(), Power::On);
    until("it beats again", || beats() > still);
    host.pause().unwrap();
    host.kill().unwrap();
    assert_eq!(host.power(), Power::Off);
}

#[test]
fn a_stopped_host_lets_its_processes_end_in_order() {
    let lab = lab("stop", 1);
    let trap = "setsid sh -c 'trap \"echo ended >/var/lib/khactl/ended; exit\" TERM; echo up; while :; do sleep 0.01; done' &";
    let mut child = lab
        .exec("cp1", "sh")
        .unwrap()
        .args(["-c", trap])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut up = [0; 3];
    child.stdout.take().unwrap().read_exact(&mut up).unwrap();
    lab.stop("cp1", SOON).unwrap();
    child.wait().unwrap();
    let host = lab.host("cp1").unwrap();
    assert_eq!(
        fs::read_to_string(host.data_dir().join("ended")).unwrap(),
        "ended\n"
    );
    assert_eq!(host.power(), Power::Off);
}

#[test]
fn orphans_are_reaped_and_a_killed_command_dies_inside_the_host() {
    let lab = lab("reap", 1);
    let host = lab.host("cp1").unwrap();
    // The parent ends before its child: the first process inherits a process that then ends.
    said(&lab, "cp1", "(sleep 0.05; exit 3) >/dev/null 2>&1 &");
    until("no zombie is left", || {
        said(
            &lab,
            "cp1",
            "cat /proc/[0-9]*/stat | cut -d')' -f2 | grep -c ' Z ' || true",
        ) == "0\n"
    });
    let mut child = host.exec("sleep").unwrap().arg("1234").spawn().unwrap();
    until("it runs", || host.processes_named("sleep").len() == 1);
    child.kill().unwrap();
    child.wait().unwrap();
    until("it is dead", || host.processes_named("sleep").is_empty());
    assert_eq!(
        host.exec("sh")
            .unwrap()
            .args(["-c", "exit 7"])
            .status()
            .unwrap()
            .code(),
        Some(7)
    );
    // Signals go straight to the process.
    let mut child = host.exec("sleep").unwrap().arg("1234").spawn().unwrap();
    until("it runs", || host.processes_named("sleep").len() == 1);
    assert_eq!(host.signal("sleep", Signal::TERM), 1);
    assert!(!child.wait().unwrap().success());
}

#[test]
fn hosts_see_only_their_own_processes_and_users() {
    let lab = lab("apart", 2);
    said(
        &lab,
        "cp1",
        "setsid sleep 777 >/dev/null 2>&1 & useradd --system --no-create-home khlabtest",
    );
    assert_eq!(
        said(
            &lab,
            "cp2",
            "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 77[7]' || true"
        )
        .trim(),
        "0"
    );
    assert!(said(&lab, "cp1", "id khlabtest").contains("khlabtest"));
    assert_eq!(said(&lab, "cp2", "id khlabtest 2>/dev/null"), "");
    assert!(
        !fs::read_to_string("/etc/passwd")
            .unwrap()
            .contains("khlabtest")
    );
}

#[test]
fn down_leaves_nothing_behind_and_may_be_repeated() {
    assert_eq!(traces("gone"), Vec::<String>::new());
    let lab = lab("gone", 2);
    said(
        &lab,
        "cp1",
        "mkdir -p /var/lib/khactl/deep && setsid sleep 999 >/dev/null 2>&1 &",
    );
    assert!(traces("gone").len() > 6, "{:?}", traces("gone"));
    lab.down().unwrap();
    assert_eq!(traces("gone"), Vec::<String>::new());
    Lab::take_down(&LabName::new("gone").unwrap()).unwrap();
    assert!(matches!(Lab::open("gone"), Err(LabError::NotUp { .. })));
}

#[test]
fn a_kept_lab_is_worked_on_by_another_value_and_survives_both() {
    let mut first = lab("kept", 1);
    first.keep().unwrap();
    drop(first);
    let second = Lab::open("kept").unwrap();
    assert_eq!(second.host("cp1").unwrap().power(), Power::On);
    second.kill("cp1").unwrap();
    drop(second);
    let third = Lab::open("kept").unwrap();
    assert_eq!(third.host("cp1").unwrap().power(), Power::Off);
    assert_eq!(third.client().power(), Power::On);
    assert!(Lab::all().contains(third.name()));
    third.down().unwrap();
    assert_eq!(traces("kept"), Vec::<String>::new());
}

#[test]
fn the_bundle_is_executable_for_an_unprivileged_user_at_its_fixed_path() {
    // As under /root: a folder that only root may pass.
    let closed = tempdir("closed");
    let bundle = closed.join("v9.9.9");
    fs::create_dir(&bundle).unwrap();
    fs::copy("/bin/true", bundle.join("etcd")).unwrap();
    let options = LabOptions {
        hosts: 1,
        bundle: Some(bundle),
        ..LabOptions::default()
    };
    let lab = Lab::up("bundle", options).unwrap();
    let inside = lab.bundle_inside().unwrap();
    assert_eq!(inside, Path::new("/opt/khactl/bundles/v9.9.9"));
    let run = lab
        .exec("cp1", "setpriv")
        .unwrap()
        .args(["--reuid=65534", "--clear-groups", "etcd"])
        .status()
        .unwrap();
    assert!(run.success());
    lab.down().unwrap();
    fs::remove_dir_all(closed).unwrap();
}

/// A folder with mode 0700 of this test.
fn tempdir(name: &str) -> PathBuf {
    let path = PathBuf::from(format!("/tmp/khactl-lab-{name}-{}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    assert!(
        Command::new("chmod")
            .arg("700")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    path
}

/// Not a test of its own: the process that the next test kills. Without the variable it does
/// nothing.
#[test]
fn a_process_that_waits_with_a_lab_up() {
    if std::env::var_os("KHACTL_LAB_VICTIM").is_some() {
        let _lab = lab("victim", 1);
        println!("\nvictim is up");
        // Ends with the parent, at the latest.
        let _ = std::io::stdin().read(&mut [0]);
    }
}

#[test]
fn what_a_killed_process_left_is_swept_by_the_next_lab() {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_process_that_waits_with_a_lab_up",
            "--nocapture",
        ])
        .env("KHACTL_LAB_VICTIM", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "victim is up"));
    let used = Lab::up("victim", LabOptions::default());
    assert!(
        matches!(used, Err(LabError::InUse { .. })),
        "a lab in use was taken"
    );
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert!(!traces("victim").is_empty());
    let _other = lab("sweeper", 1);
    assert_eq!(traces("victim"), Vec::<String>::new());
}

#[test]
fn a_host_has_nothing_open_of_who_booted_it() {
    let mark = tempdir("open").join("mark");
    let file = fs::File::create(&mark).unwrap();
    // A copy that children would inherit, as a shell's locks are.
    let _inherited = rustix::io::dup(&file).unwrap();
    let lab = lab("open", 1);
    let netns = "/run/netns/kh-open-cp1";
    let of_host = |process: &fs::DirEntry| {
        let own = fs::metadata(process.path().join("ns/net"));
        own.is_ok_and(|own| own.ino() == fs::metadata(netns).unwrap().ino())
    };
    let processes: Vec<_> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(of_host)
        .collect();
    assert!(
        processes.len() > 1,
        "its first process and that one's child"
    );
    for process in processes {
        for open in fs::read_dir(process.path().join("fd")).unwrap().flatten() {
            assert_ne!(fs::read_link(open.path()).unwrap_or_default(), mark);
        }
    }
    drop(lab);
    fs::remove_dir_all(mark.parent().unwrap()).unwrap();
}

/// A folder with a program named `khad` that is this script.
fn programs_with_agent(name: &str, script: &str) -> PathBuf {
    let programs = tempdir(name);
    let agent = programs.join("khad");
    fs::write(&agent, format!("#!/bin/bash\n{script}\n")).unwrap();
    assert!(
        Command::new("chmod")
            .arg("755")
            .arg(&agent)
            .status()
            .unwrap()
            .success()
    );
    programs
}

#[test]
fn an_agent_that_ends_at_once_is_reported_with_its_log_and_leaves_nothing() {
    let programs =
        programs_with_agent("ends", "echo cannot read /etc/khactl/khad.yaml >&2; exit 1");
    let options = LabOptions {
        hosts: 1,
        programs_dir: Some(programs.clone()),
        ..LabOptions::default()
    };
    let error = Lab::up("ends", options).unwrap_err();
    assert!(matches!(error, LabError::AgentStart { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("cannot read /etc/khactl/khad.yaml"),
        "{error}"
    );
    assert_eq!(traces("ends"), Vec::<String>::new());
    fs::remove_dir_all(programs).unwrap();
}

#[test]
fn a_boot_that_cannot_mount_is_reported_and_succeeds_once_it_can() {
    let bundle = tempdir("unmount");
    let options = LabOptions {
        hosts: 1,
        bundle: Some(bundle.clone()),
        ..LabOptions::default()
    };
    let lab = Lab::up("unmount", options).unwrap();
    lab.kill("cp1").unwrap();
    fs::remove_dir(&bundle).unwrap();
    let error = lab.start("cp1").unwrap_err();
    assert!(
        matches!(error, LabError::Boot { .. }) && error.to_string().contains("mount"),
        "{error}"
    );
    assert_eq!(lab.host("cp1").unwrap().power(), Power::Off);
    fs::create_dir(&bundle).unwrap();
    lab.start("cp1").unwrap();
    assert_eq!(lab.host("cp1").unwrap().power(), Power::On);
    fs::remove_dir(&bundle).unwrap();
}
