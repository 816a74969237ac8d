//! The main job on real programs: three hosts become one control plane, serve through the VIP, and go on
//! when hosts die.
//!
//! One cluster for all of it, in steps, because it takes most of a minute to form.

use std::thread;

use khactl_tests::{COMPONENTS, Cluster, SOON, check_pki, until};
use serde_json::{Value, json};

const HOSTS: usize = 3;

#[test]
fn three_hosts_form_one_control_plane_that_survives_the_loss_of_any_host_and_of_all() {
    let cluster = Cluster::up("e2ecluster", HOSTS);
    status_has_the_promised_fields(&cluster);
    every_host_runs_every_component_once(&cluster);
    kubernetes_works_through_the_vip(&cluster);
    certificates_chain_and_keys_are_private(&cluster);
    a_member_refuses_to_be_made_one_again(&cluster);
    a_revoked_token_is_listed_as_such(&cluster);
    the_agent_alone_dies_and_nobody_else_notices(&cluster);
    the_leaders_host_dies(&cluster);
    any_other_host_dies(&cluster);
    all_hosts_die_at_once(&cluster);
}

fn status_has_the_promised_fields(cluster: &Cluster) {
    cluster.step("the status has the promised fields");
    for host in cluster.names() {
        let status = until(&format!("{host} gives a status"), SOON, || {
            cluster.status_json(&host)
        });
        assert!(status["leader"].is_string(), "leader in {status}");
        assert!(
            status["vip"]["holder"].is_string(),
            "vip.holder in {status}"
        );
        let list = |field: &str| -> Vec<Value> {
            match status[field].as_array() {
                Some(list) => list.clone(),
                None => panic!("{field} is no list in {status}"),
            }
        };
        let hosts = list("hosts");
        assert_eq!(hosts.len(), HOSTS);
        for entry in &hosts {
            for field in ["name", "address", "role", "state"] {
                assert!(entry[field].is_string(), "hosts[].{field} in {status}");
            }
        }
        let components = list("components");
        for entry in &components {
            for field in ["host", "name", "state"] {
                assert!(entry[field].is_string(), "components[].{field} in {status}");
            }
        }
        list("problems");
    }
    let Some(status) = cluster.leaders_status() else {
        panic!("the leader gives no status");
    };
    assert_eq!(status.cluster, "e2ecluster");
    assert_eq!(status.vip.holder, Some(cluster.holder()));
    for host in &status.hosts {
        assert_eq!(host.role, "control-plane");
        assert_eq!((host.raft.as_str(), host.etcd.as_str()), ("voter", "voter"));
        assert!(host.lease, "{} takes part in the lease", host.name);
        for component in COMPONENTS {
            assert!(
                status
                    .components
                    .iter()
                    .any(|c| c.host == host.name && c.name == component),
                "the status lacks {component} of {}",
                host.name
            );
        }
    }
    assert_eq!(status.etcd.len(), HOSTS);
    assert!(status.operations.iter().all(|o| o.state == "done"));
    assert_eq!(status.operations.len(), HOSTS, "one init and two joins");
}

fn every_host_runs_every_component_once(cluster: &Cluster) {
    for host in cluster.names() {
        let pids = cluster.component_pids(&host);
        for component in COMPONENTS {
            let count = pids.get(component).map_or(0, Vec::len);
            assert_eq!(count, 1, "{component} on {host}: {pids:?}");
        }
    }
}

fn kubernetes_works_through_the_vip(cluster: &Cluster) {
    cluster.step("a ConfigMap, and a Deployment whose ReplicaSet appears");
    cluster.put("first");
    cluster.assert_there(&["first"]);
    let pod = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "registry.example/web:1"}]},
    });
    cluster.create(&json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": pod},
    }));
    until("the Deployment's ReplicaSet appears", SOON, || {
        let sets = cluster.kubectl(&["get", "replicasets", "-l", "app=web", "-o", "name"]);
        (sets.stdout.lines().count() == 1).then_some(())
    });

    cluster.step("a Pod that tolerates everything is bound to a Node made by hand");
    let resources = json!({"cpu": "2", "memory": "2Gi", "pods": "10"});
    cluster.create(&json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "by-hand"},
        "status": {"capacity": resources, "allocatable": resources},
    }));
    // The controller-manager makes it; no Pod is admitted before.
    cluster.kubectl_until(&["get", "serviceaccount", "default"], SOON);
    cluster.create(&json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "tolerant"},
        "spec": {
            "automountServiceAccountToken": false,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "web", "image": "registry.example/web:1"}],
        },
    }));
    let node = ["get", "pod", "tolerant", "-o", "jsonpath={.spec.nodeName}"];
    until("the Pod is bound", SOON, || {
        (cluster.kubectl(&node).stdout == "by-hand").then_some(())
    });
}

fn certificates_chain_and_keys_are_private(cluster: &Cluster) {
    cluster.step("openssl accepts every certificate, and nobody else can read a key");
    for host in cluster.names() {
        let leaves = check_pki(cluster.host(&host));
        assert!(leaves >= 10, "{host} has {leaves} leaves only");
    }
}

fn a_member_refuses_to_be_made_one_again(cluster: &Cluster) {
    cluster.step("a member refuses a second init and a second join");
    cluster.init("cp1").refused_with("KHA2002");
    cluster.init("cp2").refused_with("KHA2002");
    let token = cluster.token("cp1", &[]);
    cluster.join("cp3", "cp1", &token).refused_with("KHA2002");
    cluster.await_ready(HOSTS);
    every_host_runs_every_component_once(cluster);
}

fn a_revoked_token_is_listed_as_such(cluster: &Cluster) {
    cluster.step("tokens are listed and revoked, on any host");
    let token = cluster.token("cp2", &["--ttl", "10m", "--host", "cp9"]);
    let Some((id, _)) = token.split_once('.') else {
        panic!("a token has an id before its first dot");
    };
    let state = || {
        let listed = cluster.khactl("cp3", &["token", "list"]).ok();
        assert!(!listed.contains(&token), "the list tells a secret");
        let listed: Value = serde_json::from_str(&listed).unwrap_or_default();
        let entry = listed["tokens"]
            .as_array()
            .and_then(|tokens| tokens.iter().find(|token| token["id"] == id))
            .cloned();
        entry.map(|entry| entry["state"].clone())
    };
    // Another host may see it an instant later.
    until("the token is listed", SOON, || {
        (state() == Some(json!("usable"))).then_some(())
    });
    cluster.khactl("cp1", &["token", "revoke", id]).ok();
    until("the token is listed as revoked", SOON, || {
        (state() == Some(json!("revoked"))).then_some(())
    });
}

fn the_agent_alone_dies_and_nobody_else_notices(cluster: &Cluster) {
    let holder = cluster.holder();
    cluster.step(&format!("khad of {holder}, which holds the VIP, is killed"));
    let before = cluster.component_pids(&holder);
    cluster.kill_agent(&holder);
    cluster.put("while-the-agent-is-dead");
    assert_eq!(cluster.holders(), [holder.as_str()], "the VIP moved");
    assert_eq!(cluster.component_pids(&holder), before);
    cluster.start_agent(&holder);
    cluster.await_ready(HOSTS);
    assert_eq!(
        cluster.component_pids(&holder),
        before,
        "components changed"
    );
    assert_eq!(cluster.holders(), [holder.as_str()], "the VIP moved");
    cluster.assert_there(&["first", "while-the-agent-is-dead"]);
}

fn kill(cluster: &Cluster, host: &str) {
    if let Err(error) = cluster.host(host).kill() {
        panic!("{error}");
    }
}

fn start(cluster: &Cluster, host: &str) {
    if let Err(error) = cluster.host(host).start() {
        panic!("{error}");
    }
}

fn the_leaders_host_dies(cluster: &Cluster) {
    let leader = cluster.leader();
    cluster.step(&format!("{leader}, which leads, loses its power"));
    kill(cluster, &leader);
    cluster.put("without-the-leader");
    let holder = cluster.holder();
    assert_ne!(holder, leader, "a dead host holds the VIP");
    let next = until("another host leads", SOON, || {
        cluster
            .leaders_status()?
            .leader
            .filter(|next| *next != leader)
    });
    cluster.step(&format!("{next} leads, {holder} holds the VIP"));
    cluster.await_silent(&leader);
    start(cluster, &leader);
    cluster.await_ready(HOSTS);
    cluster.assert_there(&["first", "while-the-agent-is-dead", "without-the-leader"]);
}

fn any_other_host_dies(cluster: &Cluster) {
    let leader = cluster.leader();
    let names = cluster.names();
    // The holder, if that is another host than the leader: then the VIP moves too.
    let holder = cluster.holder();
    let other = if holder == leader {
        names.iter().find(|host| **host != leader)
    } else {
        Some(&holder)
    };
    let Some(other) = other else {
        panic!("there is no host beside the leader");
    };
    cluster.step(&format!("{other}, which does not lead, loses its power"));
    kill(cluster, other);
    cluster.put("without-another");
    assert_ne!(&cluster.holder(), other, "a dead host holds the VIP");
    cluster.await_silent(other);
    start(cluster, other);
    cluster.await_ready(HOSTS);
    cluster.assert_there(&["first", "without-the-leader", "without-another"]);
}

fn all_hosts_die_at_once(cluster: &Cluster) {
    cluster.step("all hosts lose their power at once");
    let names = cluster.names();
    thread::scope(|scope| {
        for host in &names {
            scope.spawn(move || kill(cluster, host));
        }
    });
    assert_eq!(cluster.holders(), [""; 0]);
    thread::scope(|scope| {
        for host in &names {
            scope.spawn(move || start(cluster, host));
        }
    });
    cluster.await_ready(HOSTS);
    cluster.assert_there(&[
        "first",
        "while-the-agent-is-dead",
        "without-the-leader",
        "without-another",
    ]);
    cluster.put("after-the-cold-start");
    every_host_runs_every_component_once(cluster);
}
