//! The tarball, for systems without dpkg: playbooks install and upgrade it, its script removes it. The bundle is made on the
//! host, of what a mirror publishes.

use std::path::Path;

use khactl_tests::{Hosts, Packages, SOON, bundle_versions, until};
use serde_json::json;

use crate::BUNDLE;
use crate::inventories::but;
use crate::mirror::Mirror;
use crate::traces::Traces;

const HOST: &str = "cp1";
/// An upgrade leaves them alone.
const STAY: [&str; 3] = ["etcd", "kube-apiserver", "kube-scheduler"];
/// It replaces these.
const REPLACED: [&str; 2] = ["khad", "khavip"];
/// The configuration's folder, the mark by which an agent knows its processes, and what any tool that makes a user leaves of
/// the files before.
const STAYS: [&str; 8] = [
    "/etc/khactl",
    "/var/lib/khactl/state/processes",
    "/etc/.pwd.lock",
    "/etc/passwd-",
    "/etc/shadow-",
    "/etc/group-",
    "/etc/gshadow-",
    "/run/khactl/khad.",
];

#[test]
fn the_tarball_is_installed_upgraded_and_removed() {
    let hosts = Hosts::up("e2etarball", 1);
    let first = Packages::build(hosts.scratch(), "0.1.0", false).tarball;
    let next = Packages::build(hosts.scratch(), "0.2.0", true).tarball;
    let bare = Traces::of(&hosts, HOST);

    let mirror = Mirror::serve(&hosts);
    let (_, etcd) = bundle_versions();
    let vars = json!({
        "khactl_package": first,
        "khactl_bundle": BUNDLE,
        "khactl_etcd_version": etcd,
        "khactl_bundle_mirror": Mirror::url(),
    });
    let inventory = hosts.inventory(&[HOST], &vars);
    let told = hosts.playbook("site", &inventory, &[]).ok();
    assert!(told.contains("WARNING: ONE HOST"), "{told}");
    hosts.await_ready(HOST, 1);
    assert!(mirror.served("/kube-apiserver") && mirror.served("/SHA256SUMS"));
    drop(mirror);

    let pid = |program: &str| hosts.pid(HOST, program);
    let stayed = STAY.map(pid);
    let replaced = REPLACED.map(pid);
    // A run that was killed had unpacked it, and installed nothing.
    hosts.bring(HOST, &next, "khactl.tar.gz");
    let unpacked = "tar -xzf khactl.tar.gz -C /opt/khactl/release";
    hosts.sh(HOST, unpacked).ok();
    let vars = but(&vars, &json!({ "khactl_package": next }));
    let inventory = hosts.inventory(&[HOST], &vars);
    hosts.playbook("upgrade_agent", &inventory, &[]).ok();
    let kept = hosts.sh(HOST, "ls -d /opt/khactl/release/khactl-*").ok();
    assert_eq!(kept.trim(), "/opt/khactl/release/khactl-0.2.0");
    for (program, before) in REPLACED.iter().zip(&replaced) {
        await_another(&hosts, program, before);
    }
    hosts.await_ready(HOST, 1);

    run(&hosts, &next, "0.2.0", "--remove");
    hosts.step("it is removed");
    assert!(!hosts.sh(HOST, "pgrep -x khad").is_ok(), "khad runs on");
    assert_eq!(STAY.map(pid), stayed, "a component ended");

    // Installed again it finds its host as it was but for khavip, whose program is another file, and cleans it.
    let khavip = pid("khavip");
    run(&hosts, &next, "0.2.0", "");
    await_another(&hosts, "khavip", &khavip);
    hosts.await_ready(HOST, 1);
    assert_eq!(STAY.map(pid), stayed, "a component ended");
    hosts.sh(HOST, "khactl reset --yes").ok();
    run(&hosts, &next, "0.2.0", "--remove");
    let mut left = Traces::of(&hosts, HOST).differences(&bare);
    // Folders are shared with others, or hold what stays.
    left.retain(|line| !line.starts_with("+ d ") && !STAYS.iter().any(|path| line.contains(path)));
    assert!(left.is_empty(), "left, or gone: {left:#?}");
}

/// Waits until a program runs that has not that number.
#[track_caller]
fn await_another(hosts: &Hosts, program: &str, before: &str) {
    until(&format!("{program} is the new one"), SOON, || {
        let now = hosts.sh(HOST, &format!("pgrep -x {program}")).stdout;
        (!now.trim().is_empty() && now.trim() != before).then_some(())
    });
}

/// Unpacks a tarball and runs its script.
#[track_caller]
fn run(hosts: &Hosts, tarball: &Path, version: &str, option: &str) {
    hosts.bring(HOST, tarball, "khactl.tar.gz");
    let script = format!("tar -xzf khactl.tar.gz && ./khactl-{version}/install.sh {option}");
    hosts.sh(HOST, &script).ok();
}
