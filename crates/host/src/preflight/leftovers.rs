//! What kubeadm, k3s, rke2, keepalived and haproxy have left on a machine: by files where they put them, by processes, and
//! by what systemd starts. It asks no systemd: what it would start is in folders.

use khactl_model::preflight::{Leftovers, OtherProgram, Presence};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

/// The kubelet's static pods, where kubeadm puts them.
const MANIFESTS: &str = "etc/kubernetes/manifests";
/// kubeadm's etcd.
const ETCD: &str = "var/lib/etcd";
const KEEPALIVED: &str = "etc/keepalived/keepalived.conf";
/// Where systemd's enabled units are linked.
const UNITS: &str = "etc/systemd/system";

pub(super) fn facts(machine: &Path, running: &BTreeSet<String>) -> Leftovers {
    let pods = static_pods(machine);
    let etcd = machine.join(ETCD);
    Leftovers {
        addresses: addresses(machine, &pods),
        static_pods: pods.into_iter().map(|pod| pod.name).collect(),
        etcd_data: etcd
            .join("member")
            .is_dir()
            .then(|| super::shown(machine, &etcd)),
        programs: programs(machine, running),
    }
}

/// A file that a kubelet runs as a pod.
struct StaticPod {
    name: String,
    file: String,
    text: String,
}

fn static_pods(machine: &Path) -> Vec<StaticPod> {
    super::files_of(&machine.join(MANIFESTS))
        .iter()
        .filter_map(|file| {
            let ending = file.extension()?.to_str()?;
            let name = file.file_stem()?.to_str()?;
            // The kubelet passes over hidden files too.
            let read = matches!(ending, "yaml" | "yml" | "json") && !name.starts_with('.');
            read.then(|| StaticPod {
                name: name.to_owned(),
                file: super::shown(machine, file),
                text: super::text_of(file),
            })
        })
        .collect()
}

fn addresses(machine: &Path, pods: &[StaticPod]) -> BTreeMap<String, BTreeSet<IpAddr>> {
    let keepalived = super::text_of(&machine.join(KEEPALIVED));
    let holders = pods
        .iter()
        .filter(|pod| pod.name.contains("vip") || pod.name.contains("keepalived"))
        .map(|pod| (pod.file.clone(), addresses_in(&pod.text)));
    std::iter::once((format!("/{KEEPALIVED}"), addresses_in(&keepalived)))
        .chain(holders)
        .filter(|(_, addresses)| !addresses.is_empty())
        .collect()
}

/// Every word of a configuration that is an address, with or without a prefix; comments are none.
fn addresses_in(text: &str) -> BTreeSet<IpAddr> {
    text.lines()
        .filter_map(|line| line.split(['#', '!']).next())
        .flat_map(|line| line.split(|c: char| !(c.is_ascii_hexdigit() || ".:/".contains(c))))
        .filter_map(|word| word.split('/').next()?.parse().ok())
        .collect()
}

fn programs(machine: &Path, running: &BTreeSet<String>) -> BTreeMap<OtherProgram, Presence> {
    let enabled = enabled_units(machine);
    OtherProgram::ALL
        .into_iter()
        .map(|program| {
            let presence = Presence {
                running: processes(program)
                    .iter()
                    .any(|name| running.contains(*name)),
                enabled: enabled.contains(program.unit()) && can_start(machine, program),
            };
            (program, presence)
        })
        .filter(|(_, presence)| presence.running || presence.enabled)
        .collect()
}

/// The short names of its processes as a server; agents of k3s are workers.
fn processes(program: OtherProgram) -> &'static [&'static str] {
    match program {
        OtherProgram::Kubelet => &["kubelet"],
        OtherProgram::K3s => &["k3s-server"],
        OtherProgram::Rke2 => &["rke2"],
        OtherProgram::Keepalived => &["keepalived"],
        OtherProgram::Haproxy => &["haproxy"],
    }
}

/// Debian enables keepalived as it is installed, and its unit does nothing without a configuration.
fn can_start(machine: &Path, program: OtherProgram) -> bool {
    program != OtherProgram::Keepalived || !super::text_of(&machine.join(KEEPALIVED)).is_empty()
}

/// The names of the units that another one wants or requires.
fn enabled_units(machine: &Path) -> BTreeSet<String> {
    super::files_of(&machine.join(UNITS))
        .iter()
        .filter(|folder| {
            let ending = folder.extension().and_then(|ending| ending.to_str());
            matches!(ending, Some("wants" | "requires"))
        })
        .flat_map(|folder| super::files_of(folder))
        .filter_map(|unit| Some(unit.file_name()?.to_str()?.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn write(machine: &Path, file: &str, text: &str) {
        let file = machine.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn enable(machine: &Path, unit: &str) {
        let folder = machine.join(UNITS).join("multi-user.target.wants");
        fs::create_dir_all(&folder).unwrap();
        // As on a machine whose unit's file lies elsewhere: the link alone counts.
        symlink(format!("/lib/systemd/system/{unit}"), folder.join(unit)).unwrap();
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_empty_machine_has_nothing() {
        let machine = tempfile::tempdir().unwrap();
        assert_eq!(facts(machine.path(), &set(&["sshd"])), Leftovers::default());
    }

    #[test]
    fn what_kubeadm_left_is_found() {
        let machine = tempfile::tempdir().unwrap();
        for pod in [
            "etcd.yaml",
            "kube-apiserver.yaml",
            ".hidden.yaml",
            "notes.txt",
        ] {
            write(machine.path(), &format!("{MANIFESTS}/{pod}"), "kind: Pod\n");
        }
        fs::create_dir_all(machine.path().join("var/lib/etcd/member/wal")).unwrap();
        enable(machine.path(), "kubelet.service");
        let found = facts(machine.path(), &set(&[]));
        assert_eq!(found.static_pods, set(&["etcd", "kube-apiserver"]));
        assert_eq!(found.etcd_data.as_deref(), Some("/var/lib/etcd"));
        let kubelet = Presence {
            running: false,
            enabled: true,
        };
        let expected = BTreeMap::from([(OtherProgram::Kubelet, kubelet)]);
        assert_eq!(found.programs, expected);
        assert_eq!(found.addresses, BTreeMap::new());
    }

    #[test]
    fn programs_that_run_are_found_by_their_processes() {
        let machine = tempfile::tempdir().unwrap();
        let running = set(&["k3s-server", "k3s-agent", "haproxy", "khad"]);
        let found = facts(machine.path(), &running);
        let names: Vec<_> = found.programs.keys().copied().collect();
        assert_eq!(names, [OtherProgram::K3s, OtherProgram::Haproxy]);
        assert!(found.programs.values().all(|p| p.running && !p.enabled));
    }

    #[test]
    fn addresses_of_holders_are_read_without_their_comments() {
        let machine = tempfile::tempdir().unwrap();
        let keepalived = "virtual_ipaddress {\n  10.77.0.100/24 dev eth0\n fd00::100/64 # 10.9.9.9\n! 10.8.8.8\n}\n";
        write(machine.path(), KEEPALIVED, keepalived);
        let pod = "env:\n- name: address\n  value: \"10.77.0.101\"\n";
        write(machine.path(), &format!("{MANIFESTS}/kube-vip.yaml"), pod);
        write(machine.path(), &format!("{MANIFESTS}/web.yaml"), pod);
        let found = facts(machine.path(), &set(&[])).addresses;
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let expected = BTreeMap::from([
            (
                "/etc/keepalived/keepalived.conf".to_owned(),
                BTreeSet::from([address("10.77.0.100"), address("fd00::100")]),
            ),
            (
                "/etc/kubernetes/manifests/kube-vip.yaml".to_owned(),
                BTreeSet::from([address("10.77.0.101")]),
            ),
        ]);
        assert_eq!(found, expected);
    }

    #[test]
    fn keepalived_that_was_only_installed_does_not_start() {
        let machine = tempfile::tempdir().unwrap();
        enable(machine.path(), "keepalived.service");
        assert!(facts(machine.path(), &set(&[])).programs.is_empty());
        write(machine.path(), KEEPALIVED, "vrrp_instance a {}\n");
        let found = facts(machine.path(), &set(&[]));
        assert!(found.programs[&OtherProgram::Keepalived].enabled);
    }
}
