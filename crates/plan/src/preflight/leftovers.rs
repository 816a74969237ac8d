//! What other programs of the same kind have left on a host: what would run a second control plane beside khactl's, and
//! what would hold a second VIP.

use khactl_model::preflight::{Leftovers, OtherProgram, Presence};
use khactl_model::spec::Mode;
use std::net::IpAddr;

use super::{Finding, Level};

const CHECK: &str = "leftovers";
/// Another control plane runs, or will.
const CONTROL_PLANE: &str = "KHA1140";
/// Static pods that nobody runs.
const STATIC_PODS: &str = "KHA1141";
/// Another etcd's data.
const ETCD_DATA: &str = "KHA1142";
/// Somebody else would hold the VIP.
const VIP: &str = "KHA1143";
/// A program of the old pair runs, or will.
const OLD_PAIR: &str = "KHA1144";

/// The static pods that make a control plane.
const COMPONENTS: [&str; 4] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
];

/// What is declared, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Declared<'a> {
    /// Who runs the control plane; `None`: there is no spec yet.
    pub mode: Option<Mode>,
    /// The floating addresses.
    pub vips: &'a [IpAddr],
}

/// What follows for a host that is to run that.
pub fn judge(left: &Leftovers, declared: Declared<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if declared.mode != Some(Mode::External) {
        findings.extend(control_planes(left, declared.mode));
        findings.extend(etcd_data(left));
    }
    findings.extend(holders(left, declared.vips));
    if findings.is_empty() {
        findings.push(Finding::fine(
            CHECK,
            match declared.mode {
                Some(Mode::External) => "nothing else holds the VIP",
                _ => "nothing of another control plane",
            },
        ));
    }
    findings
}

fn control_planes(left: &Leftovers, mode: Option<Mode>) -> Vec<Finding> {
    // Without a spec it may be the very thing that `mode: external` is for.
    let level = match mode {
        Some(Mode::Managed) => Level::Blocking,
        _ => Level::Warning,
    };
    let mut findings = Vec::new();
    let components: Vec<&str> = COMPONENTS
        .into_iter()
        .filter(|name| left.static_pods.contains(*name))
        .collect();
    if !components.is_empty() {
        let components = components.join(", ");
        findings.push(match how(left, OtherProgram::Kubelet) {
            Some(how) => Finding::new(
                level,
                CHECK,
                CONTROL_PLANE,
                format!(
                    "kubelet {how}, and runs {components} from /etc/kubernetes/manifests: a second control plane beside khactl's"
                ),
                "if that cluster is given up, `kubeadm reset`; if it is to stay and needs the VIP alone, controlPlane.mode: external",
            ),
            None => Finding::new(
                Level::Warning,
                CHECK,
                STATIC_PODS,
                format!(
                    "/etc/kubernetes/manifests holds {components}: a kubelet would run them beside khactl's as soon as it starts"
                ),
                "move these files away before a kubelet starts here",
            ),
        });
    }
    for program in [OtherProgram::K3s, OtherProgram::Rke2] {
        let Some(how) = how(left, program) else {
            continue;
        };
        let name = program.as_str();
        findings.push(Finding::new(
            level,
            CHECK,
            CONTROL_PLANE,
            format!("{name} {how}: a second control plane beside khactl's"),
            format!(
                "if that cluster is given up, uninstall {name} ({name}-uninstall.sh); if it is to stay and needs the VIP alone, \
                 controlPlane.mode: external"
            ),
        ));
    }
    findings
}

fn etcd_data(left: &Leftovers) -> Option<Finding> {
    let folder = left.etcd_data.as_ref()?;
    Some(Finding::new(
        Level::Info,
        CHECK,
        ETCD_DATA,
        format!("{folder} holds the data of another etcd, which khactl neither reads nor changes"),
        "keep it for as long as that cluster may be wanted again, then remove it",
    ))
}

/// Of whatever could hold an address.
fn holders(left: &Leftovers, vips: &[IpAddr]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, addresses) in &left.addresses {
        let program = if file.starts_with("/etc/keepalived/") {
            OtherProgram::Keepalived
        } else {
            OtherProgram::Kubelet
        };
        let Some(how) = how(left, program) else {
            continue;
        };
        for vip in vips.iter().filter(|vip| addresses.contains(*vip)) {
            findings.push(Finding::new(
                Level::Blocking,
                CHECK,
                VIP,
                format!(
                    "{} {how}, and {file} has the VIP {vip}: two would hold one address",
                    program.as_str()
                ),
                match program {
                    OtherProgram::Keepalived => "`systemctl disable --now keepalived` on every host before khactl takes the VIP",
                    _ => "move that file away on every host before khactl takes the VIP",
                },
            ));
        }
    }
    for program in [OtherProgram::Keepalived, OtherProgram::Haproxy] {
        let said = program == OtherProgram::Keepalived && findings.iter().any(|f| f.code == VIP);
        if let Some(how) = how(left, program)
            && !said
        {
            findings.push(Finding::new(
                Level::Info,
                CHECK,
                OLD_PAIR,
                format!(
                    "{} {how}, and nothing of the spec is known to be its",
                    program.as_str()
                ),
                "nothing if it serves something else; khactl needs neither keepalived nor haproxy",
            ));
        }
    }
    findings
}

/// How much it is there; `None`: not at all.
fn how(left: &Leftovers, program: OtherProgram) -> Option<&'static str> {
    let Presence { running, enabled } = left.programs.get(&program).copied().unwrap_or_default();
    match (running, enabled) {
        (true, _) => Some("runs"),
        (false, true) => Some("starts with the host"),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::weighed;
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    const RUNS: Presence = Presence {
        running: true,
        enabled: false,
    };
    const ENABLED: Presence = Presence {
        running: false,
        enabled: true,
    };

    fn managed(vips: &[IpAddr]) -> Declared<'_> {
        Declared {
            mode: Some(Mode::Managed),
            vips,
        }
    }

    fn external(vips: &[IpAddr]) -> Declared<'_> {
        Declared {
            mode: Some(Mode::External),
            vips,
        }
    }

    fn kubeadm(kubelet: Presence) -> Leftovers {
        Leftovers {
            static_pods: ["etcd", "kube-apiserver", "my-own"]
                .map(str::to_owned)
                .into(),
            etcd_data: Some("/var/lib/etcd".to_owned()),
            programs: [(OtherProgram::Kubelet, kubelet)].into(),
            ..Leftovers::default()
        }
    }

    fn holding(file: &str, program: OtherProgram, presence: Presence) -> Leftovers {
        Leftovers {
            programs: [(program, presence)].into(),
            addresses: BTreeMap::from([(file.to_owned(), BTreeSet::from([vip()]))]),
            ..Leftovers::default()
        }
    }

    fn vip() -> IpAddr {
        [10, 77, 0, 100].into()
    }

    #[test]
    fn a_clean_host_is_fine_in_every_mode() {
        for declared in [Declared::default(), managed(&[vip()]), external(&[vip()])] {
            let found = judge(&Leftovers::default(), declared);
            assert_eq!(weighed(&found), [(Level::Fine, "")]);
        }
    }

    #[test]
    fn a_kubelet_with_a_control_plane_blocks_one_of_our_own_and_no_external_one() {
        for presence in [RUNS, ENABLED] {
            let found = judge(&kubeadm(presence), managed(&[]));
            assert!(
                found[0].finding.contains("runs etcd, kube-apiserver from"),
                "{found:?}"
            );
            assert_eq!(
                weighed(&found),
                [(Level::Blocking, "KHA1140"), (Level::Info, "KHA1142")]
            );
            let found = judge(&kubeadm(presence), Declared::default());
            assert_eq!(found[0].level, Level::Warning);
            let found = judge(&kubeadm(presence), external(&[]));
            assert_eq!(weighed(&found), [(Level::Fine, "")]);
        }
    }

    #[test]
    fn files_that_nobody_runs_are_warned_of() {
        let found = judge(&kubeadm(Presence::default()), managed(&[]));
        assert_eq!(
            weighed(&found),
            [(Level::Warning, "KHA1141"), (Level::Info, "KHA1142")]
        );
    }

    #[test]
    fn a_kubelet_alone_is_fine() {
        let mut left = kubeadm(RUNS);
        left.static_pods = ["my-own".to_owned()].into();
        left.etcd_data = None;
        assert_eq!(weighed(&judge(&left, managed(&[]))), [(Level::Fine, "")]);
    }

    #[test]
    fn k3s_and_rke2_block_by_their_names() {
        for program in [OtherProgram::K3s, OtherProgram::Rke2] {
            let left = Leftovers {
                programs: [(program, ENABLED)].into(),
                ..Leftovers::default()
            };
            let found = judge(&left, managed(&[]));
            assert!(found[0].finding.starts_with(program.as_str()), "{found:?}");
            assert_eq!(weighed(&found), [(Level::Blocking, "KHA1140")]);
        }
    }

    #[test]
    fn whoever_would_hold_the_vip_blocks_in_every_mode() {
        for (file, program) in [
            ("/etc/keepalived/keepalived.conf", OtherProgram::Keepalived),
            (
                "/etc/kubernetes/manifests/kube-vip.yaml",
                OtherProgram::Kubelet,
            ),
        ] {
            let left = holding(file, program, RUNS);
            for declared in [managed(&[vip()]), external(&[vip()])] {
                let found = judge(&left, declared);
                assert!(found[0].finding.contains(file), "{found:?}");
                assert_eq!(weighed(&found), [(Level::Blocking, "KHA1143")]);
            }
            // One that neither runs nor will holds nothing.
            let found = judge(
                &holding(file, program, Presence::default()),
                managed(&[vip()]),
            );
            assert_eq!(weighed(&found), [(Level::Fine, "")]);
        }
    }

    #[test]
    fn the_old_pair_at_other_work_is_for_information() {
        let other: IpAddr = [10, 77, 0, 99].into();
        let mut left = holding(
            "/etc/keepalived/keepalived.conf",
            OtherProgram::Keepalived,
            RUNS,
        );
        left.programs.insert(OtherProgram::Haproxy, ENABLED);
        let found = judge(&left, managed(&[other]));
        assert_eq!(
            weighed(&found),
            [(Level::Info, "KHA1144"), (Level::Info, "KHA1144")]
        );
    }
}
