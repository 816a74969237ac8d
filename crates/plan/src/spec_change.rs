//! What differs between two specs, and which of it may be changed while the cluster runs. Decides nothing else: who
//! applies a change asks here first.

use khactl_model::spec::{ClusterSpec, Mode, ValidSpec};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecChange {
    /// `spec.vip.profile`
    pub path: String,
    /// As it is in force; empty: not there.
    pub before: String,
    /// As it would be; empty: not there.
    pub after: String,
    /// Why it cannot be made; `None`: it can.
    pub refusal: Option<ChangeRefusal>,
}

/// Why a field keeps its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeRefusal {
    /// `KHA…`
    pub code: &'static str,
    /// For people.
    pub reason: &'static str,
}

/// Fields that khavip takes over while it runs, with what lies below them. The lease time travels in every propose,
/// so that two hosts may have different ones for a moment (docs/lease.md, A5, P5).
const LIVE: [&str; 14] = [
    "spec.vip.profile",
    "spec.vip.leaseMs",
    "spec.vip.preference",
    "spec.vip.failback",
    "spec.balancer.method",
    "spec.balancer.weights",
    "spec.balancer.health",
    "spec.balancer.proxyProtocol",
    "spec.balancer.limits",
    "spec.controlPlane.external.backends",
    "spec.controlPlane.apiServer.probes",
    "spec.controlPlane.controllerManager.probes",
    "spec.controlPlane.scheduler.probes",
    "spec.controlPlane.etcd.probes",
];

/// What hosts take in their turn: their components are restarted with it.
const ARGUMENTS: [&str; 6] = [
    "spec.controlPlane.apiServer.extraArgs",
    "spec.controlPlane.controllerManager.extraArgs",
    "spec.controlPlane.controllerManager.leaderElection",
    "spec.controlPlane.scheduler.extraArgs",
    "spec.controlPlane.scheduler.leaderElection",
    "spec.controlPlane.etcd.extraArgs",
];

/// Everything else, the longest path first where one lies below another.
const FIXED: [(&str, ChangeRefusal); 10] = [
    (
        "metadata.name",
        ChangeRefusal {
            code: "KHA2310",
            reason: "kubeconfigs and the hosts' own records have the cluster's name",
        },
    ),
    (
        "spec.vip.addresses",
        ChangeRefusal {
            code: "KHA2311",
            reason: "certificates and kubeconfigs have the address",
        },
    ),
    (
        "spec.vip.interface",
        ChangeRefusal {
            code: "KHA2312",
            reason: "the address cannot change its interface while a host holds it",
        },
    ),
    (
        "spec.balancer.port",
        ChangeRefusal {
            code: "KHA2313",
            reason: "kubeconfigs, those of the components too, have the port",
        },
    ),
    (
        "spec.raft",
        ChangeRefusal {
            code: "KHA2315",
            reason: "agents take the times of consensus when they become members, and all need the same",
        },
    ),
    (
        "spec.controlPlane.mode",
        ChangeRefusal {
            code: "KHA2316",
            reason: "a cluster is made for one mode",
        },
    ),
    (
        "spec.controlPlane.kubernetesVersion",
        ChangeRefusal {
            code: "KHA2317",
            reason: "another version is an upgrade, host after host, which is still to come",
        },
    ),
    (
        "spec.controlPlane.bundle",
        ChangeRefusal {
            code: "KHA2317",
            reason: "another bundle is an upgrade, host after host, which is still to come",
        },
    ),
    (
        "spec.controlPlane",
        ChangeRefusal {
            code: "KHA2318",
            reason: "certificates or ports hang on it, and it would have to change on every host at the same moment",
        },
    ),
    (
        "spec.network",
        ChangeRefusal {
            code: "KHA2319",
            reason: "Kubernetes cannot change its networks once there are services",
        },
    ),
];

/// For what no list names: a field that a later version adds is fixed until somebody says otherwise.
const UNKNOWN: ChangeRefusal = ChangeRefusal {
    code: "KHA2318",
    reason: "this version cannot change it while the cluster runs",
};

/// Every field that differs, by path.
pub fn spec_changes(present: &ValidSpec, next: &ValidSpec) -> Vec<SpecChange> {
    let (before, after) = (fields(present), fields(next));
    let mut paths: Vec<&String> = before.keys().chain(after.keys()).collect();
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        .filter(|path| before.get(*path) != after.get(*path))
        .map(|path| SpecChange {
            path: path.clone(),
            before: before.get(path).cloned().unwrap_or_default(),
            after: after.get(path).cloned().unwrap_or_default(),
            refusal: refusal(path),
        })
        .collect()
}

fn refusal(path: &str) -> Option<ChangeRefusal> {
    let below = |of: &str| {
        path.strip_prefix(of)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if LIVE.iter().chain(&ARGUMENTS).any(|free| below(free)) {
        return None;
    }
    let fixed = FIXED.iter().find(|(fixed, _)| below(fixed));
    Some(fixed.map_or(UNKNOWN, |(_, refusal)| *refusal))
}

/// Whether a change restarts components.
pub fn changes_arguments(changes: &[SpecChange]) -> bool {
    changes
        .iter()
        .any(|change| ARGUMENTS.iter().any(|path| change.path.starts_with(path)))
}

/// This spec with another one's arguments of components; `None` if there are no components, or the two do not go
/// together.
pub fn with_arguments_of(spec: &ValidSpec, other: &ValidSpec) -> Option<ValidSpec> {
    let mut tree = serde_json::to_value(spec).ok()?;
    let from = serde_json::to_value(other).ok()?;
    if spec.control_plane.mode != Mode::Managed {
        return None;
    }
    let plane = tree.pointer_mut("/spec/controlPlane")?.as_object_mut()?;
    for name in ["apiServer", "controllerManager", "scheduler", "etcd"] {
        let arguments = from
            .pointer(&format!("/spec/controlPlane/{name}/extraArgs"))
            .cloned()
            .unwrap_or_else(|| Value::Object(Map::new()));
        let election = from
            .pointer(&format!("/spec/controlPlane/{name}/leaderElection"))
            .cloned();
        let component = plane
            .entry(name)
            .or_insert_with(|| Value::Object(Map::new()))
            .as_object_mut()?;
        component.insert("extraArgs".to_owned(), arguments);
        component.remove("leaderElection");
        if let Some(election) = election {
            component.insert("leaderElection".to_owned(), election);
        }
    }
    ClusterSpec::parse(&tree.to_string()).ok()
}

/// Where hosts have their weights, by name.
const WEIGHTS: &str = "spec.balancer.weights.";

const NO_HOST: ChangeRefusal = ChangeRefusal {
    code: "KHA2320",
    reason: "the cluster has no host of this name; give it its weight when it has joined",
};

/// Refuses weights of hosts that there are none of. One that was there when its host went may stay.
pub fn refuse_weights_of_strangers(changes: &mut [SpecChange], is_host: impl Fn(&str) -> bool) {
    for change in changes {
        let host = change.path.strip_prefix(WEIGHTS);
        if !change.after.is_empty() && host.is_some_and(|host| !is_host(host)) {
            change.refusal = Some(NO_HOST);
        }
    }
}

/// Every value by its path; a list is one value, as its order counts.
fn fields(spec: &ValidSpec) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let tree = serde_json::to_value(spec).expect("a spec has only text keys and finite numbers");
    collect("", &tree, &mut found);
    found
}

fn collect(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let below = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                collect(&below, value, found);
            }
        }
        Value::String(text) => {
            found.insert(path.to_owned(), text.clone());
        }
        other => {
            found.insert(path.to_owned(), other.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use khactl_model::spec::ClusterSpec;

    const SPEC: &str = "apiVersion: khactl.io/v1alpha1\nkind: Cluster\nmetadata: {name: prod}\nspec:\n  \
        vip: {addresses: [10.77.0.100/24], profile: lan}\n  controlPlane:\n    \
        kubernetesVersion: v1.20.2\n    bundle: /opt/khactl/bundles/v1.20.2\n";

    fn parse(text: &str) -> ValidSpec {
        ClusterSpec::parse(text).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn changed(from: &str, to: &str) -> Vec<(String, String, String, &'static str)> {
        assert!(SPEC.contains(from), "{from}");
        spec_changes(&parse(SPEC), &parse(&SPEC.replace(from, to)))
            .into_iter()
            .map(|change| {
                let code = change.refusal.map_or("", |refusal| refusal.code);
                (change.path, change.before, change.after, code)
            })
            .collect()
    }

    #[test]
    fn a_spec_does_not_differ_from_itself() {
        assert_eq!(spec_changes(&parse(SPEC), &parse(SPEC)), []);
        assert_eq!(
            spec_changes(&parse(SPEC), &parse(&parse(SPEC).to_yaml())),
            []
        );
    }

    #[test]
    fn the_profile_and_what_stands_instead_of_it_may_change() {
        let fast = changed("profile: lan", "profile: fast");
        assert_eq!(
            fast,
            [("spec.vip.profile".into(), "lan".into(), "fast".into(), "")]
        );
        let exact = changed("profile: lan", "leaseMs: 100");
        assert_eq!(
            exact,
            [
                ("spec.vip.leaseMs".into(), String::new(), "100".into(), ""),
                ("spec.vip.profile".into(), "lan".into(), String::new(), ""),
            ]
        );
    }

    #[test]
    fn everything_of_the_balancer_but_its_port_may_change() {
        for (balancer, path) in [
            ("method: source-hash", "spec.balancer.method"),
            ("weights: {cp2: 3}", "spec.balancer.weights.cp2"),
            ("health: {periodMs: 200}", "spec.balancer.health.periodMs"),
            (
                "limits: {connections: 5000}",
                "spec.balancer.limits.connections",
            ),
        ] {
            let changes = changed(
                "  controlPlane:",
                &format!("  balancer: {{{balancer}}}\n  controlPlane:"),
            );
            let found: Vec<_> = changes
                .iter()
                .map(|(path, _, _, code)| (path.as_str(), *code))
                .collect();
            assert_eq!(found, [(path, "")], "{balancer}");
        }
    }

    #[test]
    fn a_weight_is_given_to_hosts_of_the_cluster_alone() {
        let with = |weights: &str| {
            let balancer = format!("  balancer: {{weights: {{{weights}}}}}\n  controlPlane:");
            parse(&SPEC.replace("  controlPlane:", &balancer))
        };
        let refused = |before: &str, after: &str| -> Vec<String> {
            let mut changes = spec_changes(&with(before), &with(after));
            refuse_weights_of_strangers(&mut changes, |host| host == "cp1");
            changes
                .into_iter()
                .filter(|change| change.refusal.is_some_and(|r| r.code == "KHA2320"))
                .map(|change| change.path)
                .collect()
        };
        assert_eq!(refused("", "cp1: 2, cp9: 3"), ["spec.balancer.weights.cp9"]);
        // Its host has gone; nobody is made to tidy up before anything else may change.
        assert_eq!(refused("cp9: 3", "cp9: 3, cp1: 1"), Vec::<String>::new());
        assert_eq!(refused("cp9: 3", ""), Vec::<String>::new());
    }

    #[test]
    fn a_list_is_one_value() {
        let [(path, before, after, code)] =
            &changed("profile: lan", "profile: lan, preference: [cp2, cp1]")[..]
        else {
            panic!("more than one change");
        };
        assert_eq!((path.as_str(), *code), ("spec.vip.preference", ""));
        assert_eq!(
            (before.as_str(), after.as_str()),
            ("[]", r#"["cp2","cp1"]"#)
        );
    }

    fn with_scheduler(arguments: &str) -> ValidSpec {
        let scheduler = format!("    scheduler: {{extraArgs: {{{arguments}}}}}\n    bundle:");
        parse(&SPEC.replace("    bundle:", &scheduler))
    }

    #[test]
    fn arguments_may_change_and_restart_what_has_them() {
        let changes = spec_changes(&parse(SPEC), &with_scheduler("v: '2'"));
        let [change] = &changes[..] else {
            panic!("{changes:?}");
        };
        assert_eq!(change.path, "spec.controlPlane.scheduler.extraArgs.v");
        assert_eq!(change.refusal, None);
        assert!(changes_arguments(&changes));
        let probes = SPEC.replace(
            "    bundle:",
            "    etcd: {probes: {liveness: {enabled: false}}}\n    bundle:",
        );
        let changes = spec_changes(&parse(SPEC), &parse(&probes));
        assert!(changes.iter().all(|change| change.refusal.is_none()));
        assert!(!changes.is_empty() && !changes_arguments(&changes));
    }

    #[test]
    fn a_spec_takes_anothers_arguments_and_nothing_else() {
        let newest = parse(
            &with_scheduler("v: '2'")
                .to_yaml()
                .replace("profile: lan", "profile: fast"),
        );
        let merged = with_arguments_of(&newest, &with_scheduler("v: '3', a: b")).unwrap();
        assert_eq!(merged.vip, newest.vip);
        let arguments = &merged.control_plane.scheduler.extra_args;
        assert_eq!(arguments["v"], "3");
        assert_eq!(arguments["a"], "b");
        assert_eq!(with_arguments_of(&newest, &newest), Some(newest.clone()));
        let none = with_arguments_of(&newest, &parse(SPEC)).unwrap();
        assert!(none.control_plane.scheduler.extra_args.is_empty());
    }

    #[test]
    fn what_cannot_change_at_run_time_is_refused_with_its_reason() {
        for (from, to, path, code) in [
            ("name: prod", "name: test", "metadata.name", "KHA2310"),
            ("0.100/24", "0.101/24", "spec.vip.addresses", "KHA2311"),
            (
                "profile: lan",
                "interface: eth1",
                "spec.vip.interface",
                "KHA2312",
            ),
            (
                "  controlPlane:",
                "  balancer: {port: 8443}\n  controlPlane:",
                "spec.balancer.port",
                "KHA2313",
            ),
            (
                "  controlPlane:",
                "  raft: {heartbeatMs: 50}\n  controlPlane:",
                "spec.raft.heartbeatMs",
                "KHA2315",
            ),
            (
                "kubernetesVersion: v1.20.2",
                "kubernetesVersion: v1.20.3",
                "spec.controlPlane.kubernetesVersion",
                "KHA2317",
            ),
            (
                "    bundle:",
                "    apiServer: {port: 7443}\n    bundle:",
                "spec.controlPlane.apiServer.port",
                "KHA2318",
            ),
            (
                "  controlPlane:",
                "  network: {clusterDomain: example.org}\n  controlPlane:",
                "spec.network.clusterDomain",
                "KHA2319",
            ),
        ] {
            let changes = changed(from, to);
            let found: Vec<_> = changes
                .iter()
                .map(|(path, _, _, code)| (path.as_str(), *code))
                .collect();
            assert_eq!(found, [(path, code)], "{to}");
        }
    }
}
