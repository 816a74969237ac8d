//! A control plane that something else runs: khavip alone, and what is said of foreign API servers.

use khactl_model::component::ComponentName;
use khactl_model::facts::HealthCaFact;
use khactl_model::state::{EtcdStage, Role};
use khactl_plan::{Status, vip_feed};

use crate::fake::{FakeCluster, parse, status};

fn three(control_plane: &str, health: &str) -> FakeCluster {
    let mut cluster = FakeCluster::new(parse(&format!(
        "apiVersion: khactl.io/v1alpha1\n\
         kind: Cluster\n\
         metadata: {{name: prod}}\n\
         spec:\n\
         \x20 vip: {{addresses: [10.77.0.100/24]}}\n\
         \x20 balancer: {{port: 8443, health: {{{health}}}}}\n\
         \x20 controlPlane: {{mode: external{control_plane}}}\n"
    )));
    cluster.admit(2, Role::ControlPlane);
    cluster.admit(3, Role::Witness);
    cluster.settle(60, |_| 1);
    cluster
}

fn backends(cluster: &FakeCluster) -> Vec<String> {
    vip_feed(&cluster.cx("cp1"))
        .backends
        .into_iter()
        .map(|backend| format!("{} {}", backend.host, backend.address))
        .collect()
}

#[test]
fn it_gets_khavip_and_nothing_else() {
    let cluster = three("", "");
    assert_eq!(cluster.state.lease.members, [1, 2, 3]);
    assert_eq!(cluster.starts.len(), 3);
    for (host, name) in cluster.starts.keys() {
        assert_eq!(*name, ComponentName::Khavip, "{host}");
    }
    for (name, facts) in &cluster.facts {
        assert!(facts.files.is_empty(), "{name}");
        assert_eq!(cluster.host(name).etcd.stage, EtcdStage::Absent);
        for (component, status) in cluster.plan(name).components {
            let wanted = if component == "khavip" {
                Status::Ready
            } else {
                Status::Absent
            };
            assert_eq!(status, wanted, "{component} on {name}");
        }
    }
    assert_eq!(cluster.plan_cluster().status, Status::Ready);
    assert!(cluster.etcd.is_empty());
}

#[test]
fn its_backends_are_every_hosts_own_or_those_that_are_listed() {
    assert_eq!(
        backends(&three("", "")),
        ["cp1 10.77.0.11:6443", "cp2 10.77.0.12:6443"],
        "a witness has no API server"
    );
    assert_eq!(
        backends(&three(", apiServer: {port: 16443}", ""))[0],
        "cp1 10.77.0.11:16443"
    );
    assert_eq!(
        backends(&three(
            ", external: {backends: ['192.0.2.7:6443', '[fd77::8]:6443']}",
            ""
        )),
        [
            "192.0.2.7:6443 192.0.2.7:6443",
            "[fd77::8]:6443 [fd77::8]:6443"
        ]
    );
}

#[test]
fn its_health_is_asked_as_the_spec_says_and_judged_by_the_file_if_one_is_named() {
    let unjudged = vip_feed(&three("", "scheme: http, path: /healthz").cx("cp1")).health;
    assert_eq!(
        (&*unjudged.scheme, &*unjudged.path, &*unjudged.ca_pem),
        ("http", "/healthz", "")
    );
    let mut cluster = three("", "caFile: /etc/kubernetes/pki/ca.crt");
    let mut told = |ca: Option<HealthCaFact>| {
        cluster.facts.get_mut("cp1").unwrap().health_ca = ca;
        vip_feed(&cluster.cx("cp1")).health.ca_pem
    };
    let pem = "-----BEGIN CERTIFICATE-----".to_owned();
    let good = HealthCaFact {
        pem: pem.clone(),
        wrong: String::new(),
    };
    assert_eq!(told(Some(good)), pem);
    let gone = HealthCaFact {
        pem: pem.clone(),
        wrong: "no such file".to_owned(),
    };
    assert_eq!(told(Some(gone)), pem, "what was good goes on");
    // Empty would mean that nothing is judged.
    for never in [None, Some(HealthCaFact::default())] {
        let told = told(never);
        assert!(!told.is_empty() && !told.contains("BEGIN"), "{told}");
    }
}

#[test]
fn a_file_of_authorities_that_is_of_no_use_is_told() {
    let mut cluster = three("", "caFile: /etc/kubernetes/pki/ca.crt");
    assert!(cluster.plan("cp1").problems.is_empty());
    cluster.facts.get_mut("cp1").unwrap().health_ca = Some(HealthCaFact {
        pem: String::new(),
        wrong: "no such file".to_owned(),
    });
    let plan = cluster.plan("cp1");
    assert_eq!(plan.problems[0].code, "KHA3107");
    assert!(
        plan.problems[0]
            .advice
            .contains("/etc/kubernetes/pki/ca.crt")
    );
    assert_eq!(status(&plan, "khavip"), &Status::Ready);
}

#[test]
fn an_api_server_that_fails_its_checks_is_told_with_the_hosts_that_miss_it() {
    let mut cluster = three("", "");
    let mut seen = |host: &str, healthy: bool| {
        let vip = cluster.facts.get_mut(host).unwrap().vip.as_mut().unwrap();
        vip.backends = vec![("cp1".to_owned(), true), ("cp2".to_owned(), healthy)];
    };
    for host in ["cp1", "cp2", "cp3"] {
        seen(host, host != "cp3");
    }
    let told = |cluster: &FakeCluster| {
        let problems = cluster.plan_cluster().problems;
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].code, "KHA3108");
        problems[0].text.clone()
    };
    assert_eq!(
        told(&cluster),
        "the API server of cp2 (10.77.0.12) does not pass the check of the balancer of cp3"
    );
    let mut seen = |host: &str| {
        let vip = cluster.facts.get_mut(host).unwrap().vip.as_mut().unwrap();
        vip.backends[1].1 = false;
    };
    seen("cp1");
    seen("cp2");
    assert_eq!(
        told(&cluster),
        "the API server of cp2 (10.77.0.12) does not pass the check of any host's balancer"
    );
}
