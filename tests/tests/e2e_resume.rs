//! init and join, killed in the middle of a step and run again, go on and finish.

use khactl_tests::{Cluster, LONG, Outcome, SOON, SPEC, soak, until};

/// The steps of an operation, in their order.
const INIT_STEPS: [&str; 11] = [
    "check",
    "authorities",
    "consensus",
    "record",
    "certificates",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "khavip",
    "vip",
];
const JOIN_STEPS: [&str; 11] = [
    "check",
    "contact",
    "admit",
    "consensus",
    "certificates",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "khavip",
    "lease",
];

#[test]
fn init_and_join_killed_at_a_step_go_on_when_they_are_run_again() {
    let cluster = Cluster::boot("e2eresume", 2);
    let init_steps: &[&str] = if soak() {
        &INIT_STEPS
    } else {
        &["consensus", "etcd"]
    };
    let join_steps: &[&str] = if soak() { &JOIN_STEPS } else { &["etcd"] };

    cluster.write("cp1", SPEC, &cluster.spec().yaml());
    let init = ["init", "-f", SPEC, "--timeout", "4m"];
    for step in init_steps {
        interrupt(&cluster, "cp1", &init, step);
    }
    finish(&cluster, "cp1", &init);
    cluster.client_kubeconfig("cp1");
    cluster.await_ready(1);
    cluster.put("one");
    operation_is_done(&cluster, "init", "cp1");

    // One use: going on is not a second one.
    let token = cluster.token("cp1", &["--uses", "1"]);
    let endpoint = cluster.endpoint("cp1");
    let join = ["join", &endpoint, "--token", &token, "--timeout", "4m"];
    for step in join_steps {
        interrupt(&cluster, "cp2", &join, step);
    }
    finish(&cluster, "cp2", &join);
    cluster.await_ready(2);
    cluster.assert_there(&["one"]);
    operation_is_done(&cluster, "join", "cp2");
}

/// Runs the operation and kills the agent and the command as soon as the step shows.
fn interrupt(cluster: &Cluster, host: &str, arguments: &[&str], step: &str) {
    let operation = arguments[0];
    cluster.step(&format!("{operation} is killed at {step}"));
    let mut running = cluster.start(host, "khactl", arguments);
    let shown = format!("{operation}: {step}: ");
    let met = until(&format!("{operation} comes to {step}"), LONG, || {
        if running.lines().iter().any(|line| line.starts_with(&shown)) {
            return Some(true);
        }
        running.has_ended().then_some(false)
    });
    if !met {
        // When every step is met, a kill may come so late that the next one, or all, was complete
        // already, and no more is told of it. A few steps are never that close to each other.
        let outcome = running.wait(SOON);
        assert!(soak(), "{outcome}");
        assert!(
            outcome.is_ok() || outcome.stderr.contains("KHA2002"),
            "{outcome}"
        );
        return;
    }
    let before = cluster.component_pids(host);
    cluster.kill_agent(host);
    running.kill();
    cluster.start_agent(host);
    for (component, pids) in &before {
        assert_eq!(
            cluster.component_pids(host).get(component),
            Some(pids),
            "{component} was not left alone"
        );
    }
}

/// Runs it again, to its end. A kill at the last step may have come after the last word.
fn finish(cluster: &Cluster, host: &str, arguments: &[&str]) {
    let operation = arguments[0];
    cluster.step(&format!("{operation} is run again"));
    let outcome: Outcome = cluster.khactl(host, arguments);
    if outcome.is_ok() {
        assert!(
            outcome.stdout.contains("finished earlier"),
            "it began anew: {outcome}"
        );
    } else {
        outcome.refused_with("KHA2002");
    }
}

fn operation_is_done(cluster: &Cluster, kind: &str, host: &str) {
    let Some(status) = cluster.leaders_status() else {
        panic!("the leader gives no status");
    };
    let found: Vec<_> = status
        .operations
        .iter()
        .filter(|operation| operation.kind == kind && operation.host == host)
        .map(|operation| operation.state.as_str())
        .collect();
    assert_eq!(found, ["done"], "operations: {:?}", status.operations);
}
