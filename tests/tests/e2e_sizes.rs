//! One host alone is a cluster; two are one with a loud warning.

use khactl_tests::{Cluster, SOON, until};

#[test]
fn one_host_is_a_cluster_and_a_second_one_is_warned_about() {
    let cluster = Cluster::boot("e2esizes", 2);
    let init = cluster.init("cp1").ok();
    assert!(init.contains("init: done: "), "{init}");
    cluster.client_kubeconfig("cp1");
    cluster.await_ready(1);
    cluster.put("alone");
    let even = || {
        let status = cluster.leaders_status()?;
        Some(status.problems.iter().any(|p| p.code == "KHA3103"))
    };
    assert_eq!(even(), Some(false), "one host is no even number");

    let token = cluster.token("cp1", &[]);
    let join = cluster.join("cp2", "cp1", &token).ok();
    assert!(
        join.lines()
            .any(|line| line.starts_with("join: ") && line.contains(": warning: 2 hosts")),
        "no warning in:\n{join}"
    );
    cluster.await_ready(2);
    until("the status warns of two hosts", SOON, || {
        even().filter(|warned| *warned)
    });
    cluster.put("together");
    cluster.assert_there(&["alone", "together"]);
}
