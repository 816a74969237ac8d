//! The tarball, for systems without dpkg: its script installs, upgrades and removes.

use std::path::Path;

use khactl_tests::{Hosts, Packages, SOON, until};

use crate::traces::Traces;

const HOST: &str = "cp1";
const SPEC: &str = "\
apiVersion: khactl.io/v1alpha1
kind: Cluster
metadata: {name: tarball}
spec:
  vip: {addresses: [10.77.0.100/24]}
  controlPlane: {kubernetesVersion: v1.20.2, bundle: /opt/khactl/bundles/v1.20.2}
";
/// An upgrade leaves them alone.
const STAY: [&str; 3] = ["etcd", "kube-apiserver", "kube-scheduler"];
/// It replaces these.
const REPLACED: [&str; 2] = ["khad", "khavip"];
/// Beside data and logs: the configuration's folder, and what any tool that makes a user leaves of the files before.
const STAYS: [&str; 7] = [
    "/etc/khactl",
    "/etc/.pwd.lock",
    "/etc/passwd-",
    "/etc/shadow-",
    "/etc/group-",
    "/etc/gshadow-",
    "/run/khactl/khad.",
];

#[test]
fn the_tarballs_script_installs_upgrades_and_removes() {
    let hosts = Hosts::up("e2etarball", 1);
    let first = Packages::build(hosts.scratch(), "0.1.0", false).tarball;
    let next = Packages::build(hosts.scratch(), "0.2.0", true).tarball;
    let bare = Traces::of(&hosts, HOST);

    run(&hosts, &first, "0.1.0", "");
    hosts.step("the first version is installed");
    let init = format!("cat > cluster.yaml <<'END'\n{SPEC}END\nkhactl init -f cluster.yaml");
    hosts.sh(HOST, &init).ok();
    hosts.await_ready(HOST, 1);

    let pid = |program: &str| hosts.pid(HOST, program);
    let stayed = STAY.map(pid);
    let replaced = REPLACED.map(pid);
    run(&hosts, &next, "0.2.0", "");
    hosts.step("the second version is installed");
    for (program, before) in REPLACED.iter().zip(replaced) {
        until(&format!("{program} is the new one"), SOON, || {
            let now = hosts.sh(HOST, &format!("pgrep -x {program}")).stdout;
            (!now.trim().is_empty() && now.trim() != before).then_some(())
        });
    }
    hosts.await_ready(HOST, 1);

    run(&hosts, &next, "0.2.0", "--remove");
    hosts.step("it is removed");
    assert!(!hosts.sh(HOST, "pgrep -x khad").is_ok(), "khad runs on");
    assert_eq!(STAY.map(pid), stayed, "a component ended");

    // Installed again it finds its host as it was, and cleans it.
    run(&hosts, &next, "0.2.0", "");
    hosts.await_ready(HOST, 1);
    assert_eq!(STAY.map(pid), stayed, "a component ended");
    hosts.sh(HOST, "khactl reset --yes").ok();
    let alone = "test -S /run/khactl/khad.sock && ! pgrep -x 'etcd|kube-apiserver|khavip'";
    until("the host is clean", SOON, || {
        hosts.sh(HOST, alone).is_ok().then_some(())
    });
    run(&hosts, &next, "0.2.0", "--remove");
    let mut left = Traces::of(&hosts, HOST).differences(&bare);
    // Folders are shared with others, or hold what stays.
    left.retain(|line| !line.starts_with("+ d ") && !STAYS.iter().any(|path| line.contains(path)));
    assert!(left.is_empty(), "left, or gone: {left:#?}");
}

/// Unpacks a tarball and runs its script.
#[track_caller]
fn run(hosts: &Hosts, tarball: &Path, version: &str, option: &str) {
    hosts.bring(HOST, tarball, "khactl.tar.gz");
    let script = format!("tar -xzf khactl.tar.gz && ./khactl-{version}/install.sh {option}");
    hosts.sh(HOST, &script).ok();
}
