//! The arguments of every component for every version that khactl promises, held by snapshots.

use khactl_model::component::ComponentName;
use khactl_plan::effect::{Effect, ProcessSpec};

use crate::fake::{FakeCluster, parse, spec};

const VERSIONS: [&str; 6] = [
    "v1.20.2", "v1.30.1", "v1.31.1", "v1.32.1", "v1.33.1", "v1.34.1",
];

/// Everything that a host of this spec starts.
fn processes(mut cluster: FakeCluster) -> Vec<ProcessSpec> {
    let mut processes = Vec::new();
    cluster.settle(20, |effect| {
        if let Effect::EnsureProcess(process) = effect {
            processes.push(process.clone());
        }
        1
    });
    processes
}

fn text(process: &ProcessSpec) -> String {
    let mut lines = vec![process.program.clone()];
    lines.extend(process.args.iter().map(|arg| format!("  {arg}")));
    lines.extend(
        process
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}")),
    );
    lines.push(format!(
        "user {}",
        process.user.as_deref().unwrap_or("root")
    ));
    lines.push(format!(
        "bundle {}",
        process.bundle.as_deref().unwrap_or("none")
    ));
    lines.join("\n")
}

#[test]
fn every_version_gets_the_arguments_that_it_knows() {
    for version in VERSIONS {
        for process in processes(FakeCluster::new(spec(version))) {
            insta::assert_snapshot!(format!("{}-{version}", process.name), text(&process));
        }
    }
}

#[test]
fn the_insecure_ports_flags_end_with_1_23() {
    for (version, there) in [
        ("v1.20.2", true),
        ("v1.23.17", true),
        ("v1.24.0", false),
        ("v1.30.0", false),
    ] {
        let processes = processes(FakeCluster::new(spec(version)));
        let has = |flag: &str| {
            processes
                .iter()
                .filter(|p| p.args.iter().any(|arg| arg == flag))
                .count()
        };
        assert_eq!(has("--insecure-port=0"), usize::from(there), "{version}");
        assert_eq!(has("--port=0"), 2 * usize::from(there), "{version}");
    }
}

#[test]
fn an_operators_arguments_win_over_ours() {
    let text = "apiVersion: khactl.io/v1alpha1\n\
                kind: Cluster\n\
                metadata: {name: prod}\n\
                spec:\n\
                \x20 vip: {addresses: [10.77.0.100/24]}\n\
                \x20 controlPlane:\n\
                \x20   kubernetesVersion: v1.30.1\n\
                \x20   bundle: /opt/b\n\
                \x20   apiServer: {extraArgs: {allow-privileged: \"false\", v: \"4\"}}\n\
                \x20   etcd: {extraArgs: {snapshot-count: \"5000\"}}\n\
                \x20   scheduler: {extraArgs: {v: \"2\"}}\n\
                \x20   controllerManager: {extraArgs: {leader-elect-retry-period: \"2s\"}}\n";
    let processes = processes(FakeCluster::new(parse(text)));
    let args = |name| {
        &processes
            .iter()
            .find(|process| process.name == name)
            .unwrap()
            .args
    };
    let has = |name, flag: &str| args(name).iter().any(|arg| arg == flag);
    assert!(has(
        ComponentName::KubeApiserver,
        "--allow-privileged=false"
    ));
    assert!(!has(
        ComponentName::KubeApiserver,
        "--allow-privileged=true"
    ));
    assert!(has(ComponentName::KubeApiserver, "--v=4"));
    assert!(has(ComponentName::Etcd, "--snapshot-count=5000"));
    assert!(has(ComponentName::KubeScheduler, "--v=2"));
    assert!(has(
        ComponentName::KubeControllerManager,
        "--leader-elect-retry-period=2s"
    ));
}

#[test]
fn each_apiserver_uses_its_own_hosts_etcd_only() {
    let processes = processes(FakeCluster::new(spec("v1.20.2")));
    let apiserver = processes
        .iter()
        .find(|p| p.name == ComponentName::KubeApiserver)
        .unwrap();
    assert!(
        apiserver
            .args
            .iter()
            .any(|arg| arg == "--etcd-servers=https://127.0.0.1:2379")
    );
}
