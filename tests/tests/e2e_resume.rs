//! init and join, killed in the middle of a step and run again, go on and finish.

use khactl_lab::Signal;
use khactl_tests::{Cluster, LONG, Outcome, SOON, SPEC, soak};

/// The steps of an operation, in their order.
const INIT_STEPS: [&str; 11] = [
    "check",
    "authorities",
    "consensus",
    "record",
    FIRST_JOURNALED,
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
    FIRST_JOURNALED,
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "khavip",
    "lease",
];
/// From here on each step is in the journal when it begins.
const FIRST_JOURNALED: &str = "certificates";

/// A step may be over before the agent is stopped in it. What was missed is tried again on other hosts,
/// in so many clusters at most.
const CLUSTERS_MAX: usize = 6;

#[test]
fn init_and_join_killed_at_a_step_go_on_when_they_are_run_again() {
    let (mut init, mut join) = if soak() {
        (INIT_STEPS.to_vec(), JOIN_STEPS.to_vec())
    } else {
        (vec!["consensus", "etcd"], vec!["etcd"])
    };
    let wanted = init.len() + join.len();
    for clusters in 1.. {
        form(&mut init, &mut join);
        let met = wanted - init.len() - join.len();
        eprintln!("{met} of {wanted} steps were interrupted, in {clusters} clusters");
        if met == wanted {
            break;
        }
        assert!(
            clusters < CLUSTERS_MAX,
            "no kill met init in {init:?} and join in {join:?}"
        );
    }
}

/// Makes a cluster by an init and a join that are killed at these steps; leaves those that no kill met.
fn form(init_steps: &mut Vec<&'static str>, join_steps: &mut Vec<&'static str>) {
    let hosts = if join_steps.is_empty() { 1 } else { 2 };
    let cluster = Cluster::boot("e2eresume", hosts);
    cluster.write("cp1", SPEC, &cluster.spec().yaml());
    let init = ["init", "-f", SPEC, "--timeout", "4m"];
    interrupt_each(&cluster, "cp1", &init, init_steps);
    cluster.client_kubeconfig("cp1");
    cluster.await_ready(1);
    cluster.put("one");
    operation_is_done(&cluster, "init", "cp1");
    if hosts == 1 {
        return;
    }

    // One use: going on is not a second one.
    let token = cluster.token("cp1", &["--uses", "1"]);
    let endpoint = cluster.endpoint("cp1");
    let join = ["join", &endpoint, "--token", &token, "--timeout", "4m"];
    interrupt_each(&cluster, "cp2", &join, join_steps);
    cluster.await_ready(2);
    cluster.assert_there(&["one"]);
    operation_is_done(&cluster, "join", "cp2");
}

/// Runs the operation once for each of the steps, killed there, and once to its end; leaves the steps
/// that no kill met.
fn interrupt_each(
    cluster: &Cluster,
    host: &str,
    arguments: &[&str],
    steps: &mut Vec<&'static str>,
) {
    let operation = arguments[0];
    let tells = |outcome: &Outcome, step: &str, what: &str| {
        let line = format!("{operation}: {step}: {what}");
        outcome.stdout.lines().any(|told| told.starts_with(&line))
    };
    let mut missed = Vec::new();
    let mut journaled = false;
    // Where the run before was killed, and whether it had told that the step was over.
    let mut killed: Option<(&str, bool)> = None;
    for step in steps.iter().copied().map(Some).chain([None]) {
        let outcome = match step {
            Some(step) => kill_at(cluster, host, arguments, step),
            None => run_again(cluster, host, arguments),
        };
        if let Some((before, told)) = killed.take() {
            // The journal may know of an end that nobody was told of.
            let met = !told && !was_done(&outcome) && !tells(&outcome, before, "finished earlier");
            let not = if met { "" } else { "not " };
            cluster.step(&format!("{operation} was {not}interrupted at {before}"));
            if !met {
                missed.push(before);
            }
        }
        match step {
            Some(step) => {
                let over = !tells(&outcome, step, "started") || tells(&outcome, step, "finished");
                killed = Some((step, over));
            }
            // What a run has told of as finished is not done again.
            None => assert!(
                !journaled
                    || was_done(&outcome)
                    || tells(&outcome, FIRST_JOURNALED, "finished earlier"),
                "it began anew: {outcome}"
            ),
        }
        journaled |= tells(&outcome, FIRST_JOURNALED, "finished");
    }
    *steps = missed;
}

/// Runs the operation and kills the agent as soon as the step begins. Gives all that the command told, which ends
/// with the agent.
fn kill_at(cluster: &Cluster, host: &str, arguments: &[&str], step: &str) -> Outcome {
    let operation = arguments[0];
    cluster.step(&format!("{operation} is killed at {step}"));
    let agent = cluster.host(host).processes_named("khad");
    let running = cluster.start(host, "khactl", arguments);
    let begins = format!("{operation}: {step}: started");
    if !running.shows(LONG, |line| line == begins) {
        // A kill may come so late that this step, or all, was complete already, and no more is told of it.
        let outcome = running.wait(SOON);
        assert!(outcome.is_ok() || was_done(&outcome), "{outcome}");
        return outcome;
    }
    // Stopped first: it does nothing more while it is looked at what runs.
    for process in &agent {
        process.signal(Signal::STOP);
    }
    let before = cluster.component_pids(host);
    cluster.kill_agent(host);
    let outcome = running.wait(SOON);
    cluster.start_agent(host);
    for (component, pids) in &before {
        assert_eq!(
            cluster.component_pids(host).get(component),
            Some(pids),
            "{component} was not left alone"
        );
    }
    outcome
}

/// Runs it to its end. A kill at the last step may have come after the last word.
fn run_again(cluster: &Cluster, host: &str, arguments: &[&str]) -> Outcome {
    cluster.step(&format!("{} is run again", arguments[0]));
    let outcome = cluster.run(host, "khactl", arguments);
    assert!(outcome.is_ok() || was_done(&outcome), "{outcome}");
    outcome
}

/// Whether it was refused because an earlier run had completed it.
fn was_done(outcome: &Outcome) -> bool {
    !outcome.is_ok() && outcome.stderr.contains("KHA2002")
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
