//! The spec as its operator meets it: whole files in, messages out.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

/// The smallest spec there is.
const SMALLEST: &str = "\
apiVersion: khactl.io/v1alpha1
kind: Cluster
metadata:
  name: prod
spec:
  vip:
    addresses: [10.77.0.100/24]
  controlPlane:
    kubernetesVersion: v1.20.2
    bundle: /opt/khactl/bundles/v1.20.2
";

/// Every field, each at its default.
const FULL: &str = r#"
apiVersion: khactl.io/v1alpha1
kind: Cluster
metadata:
  name: prod
spec:
  vip:
    addresses: [10.77.0.100/24]       # one per family at the most
    interface: auto                   # or a name
    profile: lan                      # lan | fast | wan: lease times; or leaseMs
    preference: []
    failback: false
  balancer:
    port: 6443
    method: round-robin
    health: {scheme: https, path: /readyz, caFile: "", periodMs: 500, timeoutMs: 500, rise: 2, fall: 2}
    weights: {}
    proxyProtocol: false
    limits: {connections: 20000, halfOpen: 1000, halfOpenMs: 10000}
  raft: {heartbeatMs: 100, electionTimeoutMs: [500, 1000]}
  controlPlane:
    mode: managed
    # external: {backends: [10.77.0.11:6443]}
    kubernetesVersion: v1.20.2
    bundle: /opt/khactl/bundles/v1.20.2
    apiServer: {port: 6443, extraSans: [], extraArgs: {}}
    controllerManager: {extraArgs: {}}
    scheduler: {extraArgs: {}}
    etcd: {extraArgs: {}}
  network: {podCidr: 10.244.0.0/16, serviceCidr: 10.96.0.0/12, clusterDomain: cluster.local}
"#;

const EXTERNAL: &str = "\
apiVersion: khactl.io/v1alpha1
kind: Cluster
metadata: {name: prod}
spec:
  vip: {addresses: [10.77.0.100/24, 'fd77::100/64'], interface: eth0, leaseMs: 100, preference: [b, a], failback: true}
  balancer: {port: 7443, method: source-hash, weights: {a: 3, b: 1}}
  controlPlane:
    mode: external
    external: {backends: ['10.77.0.11:6443', '[fd77::11]:6443']}
";

fn valid(text: &str) -> ValidSpec {
    ClusterSpec::parse(text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn refused(text: &str) -> SpecProblems {
    ClusterSpec::parse(text).expect_err("a spec with mistakes")
}

fn codes(text: &str) -> Vec<u16> {
    refused(text)
        .problems
        .iter()
        .map(|problem| problem.code.number())
        .collect()
}

/// The smallest spec with more lines under `spec`.
fn with(lines: &str) -> String {
    format!("{SMALLEST}{lines}")
}

#[test]
fn the_smallest_spec_gets_every_default() {
    assert_eq!(valid(SMALLEST), valid(FULL));
    insta::assert_snapshot!(valid(SMALLEST).to_yaml());
}

#[test]
fn the_canonical_text_of_a_spec_is_the_same_spec() {
    for text in [SMALLEST, FULL, EXTERNAL] {
        let spec = valid(text);
        assert_eq!(valid(&spec.to_yaml()), spec);
    }
    insta::assert_snapshot!(valid(EXTERNAL).to_yaml());
}

#[test]
fn the_json_of_a_spec_is_a_spec_too() {
    let spec = valid(EXTERNAL);
    assert_eq!(valid(&serde_json::to_string(&spec).unwrap()), spec);
}

#[test]
fn lease_times_come_from_the_profile_or_from_the_number() {
    assert_eq!(valid(SMALLEST).vip.lease_ms(), 250);
    assert_eq!(valid(EXTERNAL).vip.lease_ms(), 100);
    assert_eq!(
        valid(&SMALLEST.replace("/24]", "/24]\n    profile: fast"))
            .vip
            .lease_ms(),
        60
    );
    assert_eq!(
        valid(&SMALLEST.replace("/24]", "/24]\n    profile: wan"))
            .vip
            .lease_ms(),
        2000
    );
}

#[test]
fn the_first_service_address_is_the_api_servers() {
    assert_eq!(
        valid(SMALLEST).network.first_service_address().to_string(),
        "10.96.0.1"
    );
}

#[test]
fn all_mistakes_of_a_file_are_reported_at_once() {
    let text = "\
apiVersion: khactl.io/v1
kind: Cluster
metadata:
  name: Prod
spec:
  vip:
    adresses: [10.77.0.1/24]
    addresses: [10.77.0.300/24, 10.77.0.100/24, 10.77.0.101/24, 10.77.0.0/24]
    profile: lan
    leaseMs: 100
    failback: yes
  balancer:
    port: 9443
    method: random
    health: {periodMs: 5, rise: two}
    weights: {a: 0, b: 101, Bad_Host: 5}
  raft: {heartbeatMs: 200, electionTimeoutMs: [500, 400]}
  controlPlane:
    kubernetesVersion: 1.20
    bundle: bundles/v1.20.2
    apiServer: {port: '6443', extraSans: [https://x], extraArgs: {--v: 4}}
    etcd: []
  network: {podCidr: 10.77.0.0/16, serviceCidr: 10.77.1.0/12, clusterDomain: .local}
extra: 1
";
    insta::assert_snapshot!(refused(text).in_file("site/cluster.yaml"));
}

#[test]
fn a_file_with_nothing_in_it_is_told_what_it_lacks() {
    insta::assert_snapshot!(refused(""));
}

#[test]
fn an_external_control_plane_refuses_what_it_would_ignore() {
    let text = EXTERNAL.replace("mode: external", "mode: external\n    bundle: /opt/b\n    kubernetesVersion: v1.20.2\n    etcd: {}\n    scheduler: {extraArgs: {v: 2}}\n    apiServer: {extraSans: [a.b]}");
    let text =
        text.replace("10.77.0.11:6443", "10.77.0.100:6443") + "  network: {podCidr: 10.1.0.0/16}\n";
    insta::assert_snapshot!(refused(&text));
}

#[test]
fn an_external_control_plane_takes_a_port_for_all_hosts_or_a_list_of_backends() {
    let every = EXTERNAL.replace(
        "external: {backends: ['10.77.0.11:6443', '[fd77::11]:6443']}",
        "apiServer: {port: 16443}",
    );
    assert_eq!(valid(&every).control_plane.api_server.port, 16443);
    let both = EXTERNAL.replace(
        "mode: external",
        "mode: external\n    apiServer: {port: 16443}",
    );
    assert_eq!(codes(&both), [1012]);
    let itself = EXTERNAL.replace("10.77.0.11:6443", "127.0.0.1:7443");
    assert_eq!(codes(&itself), [1016]);
    valid(&EXTERNAL.replace("10.77.0.11:6443", "127.0.0.1:6443"));
}

#[test]
fn a_managed_control_plane_refuses_the_backends_of_an_external_one() {
    let text = SMALLEST.replace(
        "controlPlane:",
        "controlPlane:\n    external: {backends: ['10.77.0.11:6443']}",
    );
    assert_eq!(codes(&text), [1014]);
}

#[test]
fn a_syntax_error_hides_no_mistake_before_it_and_invents_none_after_it() {
    let text = "apiVersion: khactl.io/v1alpha1\nkind: Klaster\nmetadata: {name: prod}\nspec:\n  vip: [\n  raft: }\n";
    let problems = refused(text);
    assert!(
        problems
            .problems
            .iter()
            .any(|problem| problem.code == Code::Syntax),
        "{problems}"
    );
    assert!(
        problems
            .problems
            .iter()
            .any(|problem| problem.code == Code::WrongKind),
        "{problems}"
    );
    assert!(
        problems
            .problems
            .iter()
            .all(|problem| problem.code != Code::Missing),
        "{problems}"
    );
}

#[test]
fn networks_that_overlap_are_shown_with_both_values() {
    insta::assert_snapshot!(refused(&with(
        "  network: {podCidr: 10.64.0.0/10, serviceCidr: 10.96.0.0/12}\n"
    )));
}

#[test]
fn addresses_that_cannot_float_are_refused() {
    for address in [
        "127.0.0.5/8",
        "224.0.0.9/24",
        "0.0.0.0/24",
        "169.254.1.1/16",
        "255.255.255.255/24",
        "10.77.0.0/24",
        "10.77.0.255/24",
        "10.77.0.100/32",
        "11.77.0.100/7",
        "'::1/64'",
        "'fe80::1/64'",
        "'ff02::1/64'",
        "'fd77::/64'",
    ] {
        let text = SMALLEST.replace("10.77.0.100/24", address);
        assert!(
            codes(&text).contains(&1008),
            "{address}: {}",
            refused(&text)
        );
    }
    valid(&SMALLEST.replace("10.77.0.100/24]", "10.77.0.100/32]\n    interface: eth0"));
    valid(&SMALLEST.replace("10.77.0.100/24]", "10.77.0.100/31]"));
}

#[test]
fn one_mistake_gives_one_message() {
    for (lines, code) in [
        ("  raft: {heartbeatMs: 300}\n", 1013),
        ("  raft: {electionTimeoutMs: [500]}\n", 1003),
        ("  raft: {electionTimeoutMs: [500, x]}\n", 1003),
        ("  raft: {heartbeatMs: x}\n", 1003),
        ("  balancer: {weights: {a: 101}}\n", 1007),
        ("  balancer: {weights: {a: 0}}\n", 1007),
        ("  balancer: {method: random}\n", 1003),
        ("  balancer: {proxyProtocol: true}\n", 1012),
        ("  balancer: {limits: {connections: 8}}\n", 1007),
        (
            "  balancer: {limits: {connections: 500, halfOpen: 501}}\n",
            1007,
        ),
        ("  balancer: {limits: {halfOpenMs: 1}}\n", 1007),
        ("  balancer: {port: 2379}\n", 1011),
        ("  balancer: {health: {path: readyz}}\n", 1003),
        ("  balancer: {health: {fall: 20, periodMs: 5000}}\n", 1007),
        (
            "  balancer: {health: {scheme: http, caFile: /etc/ca.crt}}\n",
            1012,
        ),
        ("  balancer: {health: {caFile: ca.crt}}\n", 1003),
        (
            "  network: {podCidr: 10.64.0.0/16, serviceCidr: 10.77.0.0/16}\n",
            1015,
        ),
        ("  balancer: 6443\n", 1003),
        ("  network: {podCidr: 10.244.0.0/26}\n", 1007),
        (
            "  network: {serviceCidr: 10.0.0.0/8, podCidr: 192.168.0.0/16}\n",
            1010,
        ),
        ("  network: {serviceCidr: 'fd00::/108'}\n", 1010),
        ("  network: {serviceCidr: 10.96.0.1/12}\n", 1003),
        ("  network: {podCidr: nowhere}\n", 1003),
        ("  raft: {}\n  raft: {}\n", 1005),
        ("  Raft: {}\n", 1002),
        ("---\na: 1\n", 1001),
    ] {
        let text = with(lines);
        let expected = if lines.contains("10.0.0.0/8") {
            vec![1015, 1007]
        } else {
            vec![code]
        };
        assert_eq!(codes(&text), expected, "{lines}{}", refused(&text));
    }
}

#[test]
fn an_empty_field_is_left_to_its_default() {
    assert_eq!(
        valid(&with(
            "  network:\n  raft: ~\n  balancer: {weights: null}\n"
        )),
        valid(SMALLEST)
    );
}

fn host() -> HostFactsForSpec {
    let interface = |name: &str, addresses: &[&str], up| InterfaceFacts {
        name: name.to_owned(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        up,
    };
    HostFactsForSpec {
        interfaces: vec![
            interface("lo", &["127.0.0.1/8", "::1/128"], true),
            interface("eth0", &["10.77.0.11/24", "fd77::11/64"], true),
            interface("eth1", &["192.0.2.11/24"], false),
        ],
        own_address: Some("10.77.0.11".parse().unwrap()),
        listeners: vec!["127.0.0.1:22".parse().unwrap()],
    }
}

fn on_host(text: &str, host: &HostFactsForSpec) -> Vec<u16> {
    let spec = valid(text);
    check_on_host(&spec, host)
        .iter()
        .map(|problem| problem.code.number())
        .collect()
}

#[test]
fn a_host_that_can_carry_the_spec_has_no_problem() {
    assert_eq!(on_host(SMALLEST, &host()), [0; 0]);
    assert_eq!(on_host(EXTERNAL, &host()), [0; 0]);
    let spec = valid(SMALLEST);
    assert_eq!(
        vip_interface(&spec, spec.vip.addresses[0], &host()),
        Some("eth0")
    );
}

#[test]
fn a_host_says_what_it_cannot_carry() {
    let vip = |text: &str| SMALLEST.replace("10.77.0.100/24", text);
    assert_eq!(on_host(&vip("10.77.0.11/24"), &host()), [1020]);
    assert_eq!(on_host(&vip("10.78.0.100/24"), &host()), [1021]);
    assert_eq!(
        on_host(&vip("192.0.2.100/24"), &host()),
        [1021],
        "eth1 is down"
    );
    let named = |name: &str| SMALLEST.replace("/24]", &format!("/24]\n    interface: {name}"));
    assert_eq!(on_host(&named("eth9"), &host()), [1022]);
    assert_eq!(on_host(&named("eth1"), &host()), [1023, 1021]);
    let inside = HostFactsForSpec {
        own_address: Some("10.244.3.4".parse().unwrap()),
        ..host()
    };
    assert_eq!(on_host(SMALLEST, &inside), [1024]);
    let listener: SocketAddr = "0.0.0.0:6443".parse().unwrap();
    let taken = HostFactsForSpec {
        listeners: vec![listener],
        ..host()
    };
    assert_eq!(on_host(SMALLEST, &taken), [1025]);
    assert_eq!(on_host(EXTERNAL, &taken), [0; 0], "7443 is free");
    let same = EXTERNAL.replace("port: 7443", "port: 6443");
    assert_eq!(
        on_host(&same, &taken),
        [1025],
        "as kubeadm's API server has it"
    );
}

#[test]
fn what_a_host_cannot_carry_is_told_with_its_place_in_the_file() {
    let text = SMALLEST.replace(
        "10.77.0.100/24]",
        "10.77.0.11/24, 'fd78::100/64']\n    interface: eth0",
    );
    let lines: Vec<String> = check_on_host(&valid(&text), &host())
        .iter()
        .map(ToString::to_string)
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        let _ = ClusterSpec::parse(&text);
    }

    #[test]
    fn no_damage_to_a_spec_makes_the_parser_panic(
        at in 0..FULL.len(),
        length in 0..40_usize,
        insert in "[\\[\\]{}:,&*!|>'\"#%@`\\-? \\n\\ta-z0-9/.]{0,12}",
    ) {
        let start = FULL.floor_char_boundary(at);
        let end = FULL.floor_char_boundary((at + length).min(FULL.len()));
        let text = format!("{}{insert}{}", &FULL[..start], &FULL[end..]);
        if let Ok(spec) = ClusterSpec::parse(&text) {
            prop_assert_eq!(valid(&spec.to_yaml()), spec);
        }
    }
}
