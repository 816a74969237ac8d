//! What keeps the components alive: one cluster, one fault of a component or of its supervisor after the other.

use khactl_lab::{Signal, VIP};
use khactl_model::facts::ComponentState;
use khactl_model::status::ComponentStatus;
use khactl_tests::{COMPONENTS, Cluster, HostNetwork, Probe, SOON, SPEC, Writer, soak, until};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::thread;

const HOSTS: usize = 2;
/// The host on which things go wrong; the other one stays as it is.
const HOST: &str = "cp2";

#[test]
fn components_are_kept_alive_through_what_befalls_them_and_their_supervisor() {
    let cluster = Cluster::up("e2esuper", HOSTS);
    a_component_that_hangs_is_started_anew(&cluster, "kube-apiserver");
    a_component_that_ends_again_and_again_is_told_with_its_cause(&cluster);
    arguments_go_from_host_to_host_and_bad_ones_no_further_than_the_first(&cluster);
    logs_are_read_from_any_host(&cluster);
    an_operators_own_readiness_probe_counts_for_every_balancer(&cluster);
    the_supervisor_comes_and_goes_and_no_request_fails(&cluster);
    a_host_that_goes_down_ends_each_component_before_what_it_needs(&cluster);
}

fn component(cluster: &Cluster, name: &str) -> Option<ComponentStatus> {
    let status = cluster.leaders_status()?;
    status
        .components
        .into_iter()
        .find(|component| component.host == HOST && component.name == name)
}

#[track_caller]
fn await_component_ready(cluster: &Cluster, name: &str) {
    until(&format!("{name} of {HOST} is ready"), SOON, || {
        (component(cluster, name)?.state == ComponentState::Ready).then_some(())
    });
}

fn a_component_that_hangs_is_started_anew(cluster: &Cluster, name: &str) {
    cluster.step(&format!("{name} of {HOST} hangs"));
    let before = cluster.component_pids(HOST);
    assert_eq!(cluster.host(HOST).signal(name, Signal::STOP), 1);
    until(
        &format!("{name} of {HOST} is another process"),
        SOON,
        || {
            let now = cluster.component_pids(HOST).remove(name)?;
            (now.len() == 1 && now != before[name]).then_some(())
        },
    );
    cluster.step(&format!("{name} of {HOST} is another process"));
    await_component_ready(cluster, name);
    cluster.step(&format!("{name} of {HOST} is ready"));
    let mut after = cluster.component_pids(HOST);
    for other in COMPONENTS.into_iter().filter(|other| *other != name) {
        assert_eq!(
            after.remove(other).as_ref(),
            before.get(other),
            "{other} was touched"
        );
    }
    let log = cluster
        .run(HOST, "cat", &["/var/log/khactl/khad.log"])
        .stdout;
    assert!(
        log.lines()
            .any(|line| line.contains(name) && line.contains("liveness probe")),
        "khad does not say why it ended {name}"
    );
}

fn a_component_that_ends_again_and_again_is_told_with_its_cause(cluster: &Cluster) {
    const NAME: &str = "kube-scheduler";
    cluster.step(&format!("a stranger has the port of {NAME} on {HOST}"));
    cluster.kill_agent(HOST);
    assert_eq!(cluster.host(HOST).signal(NAME, Signal::KILL), 1);
    let stranger = listen(cluster, SocketAddr::from(([127, 0, 0, 1], 10259)));
    cluster.start_agent(HOST);
    let crash = until(
        &format!("{NAME} of {HOST} is in a crash loop"),
        SOON,
        || {
            component(cluster, NAME)?
                .crash
                .filter(|crash| crash.looping && crash.cause.is_some())
        },
    );
    assert_eq!(crash.how, "exit code 1");
    assert!(crash.ends >= 3, "{crash:?}");
    assert!((1..=20).contains(&crash.last_lines.len()), "{crash:?}");
    let cause = crash.cause.map(|cause| cause.code).unwrap_or_default();
    assert_eq!(cause, "KHA3121");
    let status = cluster.run(HOST, "khactl", &["status"]).ok();
    // The stranger is of another process namespace: only that it is there can be told.
    for shown in [
        "KHA3121",
        "its port is taken by an unknown process at 127.0.0.1:10259",
        "address already in use",
        "ss -ltnp",
    ] {
        assert!(status.contains(shown), "no {shown} in:\n{status}");
    }
    drop(stranger);
    await_component_ready(cluster, NAME);
}

fn arguments_go_from_host_to_host_and_bad_ones_no_further_than_the_first(cluster: &Cluster) {
    const NAME: &str = "kube-scheduler";
    const FIRST: &str = "cp1";
    cluster.await_ready(HOSTS);
    let shown = cluster.khactl(HOST, &["config", "show"]).ok();
    let shown: Value = serde_json::from_str(&shown).unwrap_or_default();
    let text = shown["spec"].as_str().unwrap_or_default();
    let apply = |arguments: &str| {
        let scheduler = format!("    scheduler: {{extraArgs: {{{arguments}}}}}\n    apiServer:");
        let changed = text.replace("    apiServer:", &scheduler);
        assert_ne!(changed, text);
        cluster.write(HOST, SPEC, &changed);
        cluster.khactl(HOST, &["config", "apply", "-f", SPEC])
    };
    let pids = |host: &str| cluster.component_pids(host);
    let before = [pids(FIRST), pids(HOST)];

    cluster.step(&format!("an argument that {NAME} does not know is refused"));
    let refusal = apply("no-such-flag: x").refused_with("KHA2331");
    assert!(
        refusal
            .wrong
            .contains("spec.controlPlane.scheduler.extraArgs.no-such-flag"),
        "{refusal:?}"
    );

    cluster.step(&format!("an argument makes {NAME} end"));
    apply("config: /no/such/file").ok();
    until("the argument is taken back", SOON, || {
        let problems = cluster.leaders_status()?.problems;
        let told = problems.iter().find(|problem| problem.code == "KHA3130")?;
        told.text.contains(NAME).then_some(())
    });
    cluster.await_ready(HOSTS);
    let now = [pids(FIRST), pids(HOST)];
    assert_ne!(now[0][NAME], before[0][NAME], "nobody tried it");
    assert_eq!(now[1], before[1], "it spread to the next host");

    cluster.step(&format!("another argument for {NAME} goes to both hosts"));
    apply("v: '1'").ok();
    until("both hosts have it", SOON, || {
        let both = [FIRST, HOST].iter().all(|host| {
            cluster
                .host(host)
                .processes_named(NAME)
                .iter()
                .any(|process| has_argument(process.pid, "--v=1"))
        });
        both.then_some(())
    });
    cluster.await_ready(HOSTS);
    let after = [pids(FIRST), pids(HOST)];
    for (host, (after, now)) in [FIRST, HOST].iter().zip(after.iter().zip(&now)) {
        for name in COMPONENTS {
            let same = after.get(name) == now.get(name);
            assert_eq!(same, name != NAME, "{name} on {host}");
        }
    }
    let problems = cluster.leaders_status().map(|status| status.problems);
    assert!(
        problems
            .iter()
            .flatten()
            .all(|problem| problem.code != "KHA3130"),
        "{problems:?}"
    );
}

fn has_argument(pid: u32, wanted: &str) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0)
        .any(|argument| argument == wanted.as_bytes())
}

fn logs_are_read_from_any_host(cluster: &Cluster) {
    const NAME: &str = "kube-scheduler";
    cluster.step(&format!("{NAME}'s log of {HOST} is read on cp1"));
    let read = |arguments: &[&str]| {
        let mut all = vec!["logs", NAME, "--host", HOST];
        all.extend(arguments);
        cluster.run("cp1", "khactl", &all).ok()
    };
    // What the crash loop left there some seconds ago.
    let last = read(&["--since", "10m"]);
    assert!(last.contains("address already in use"), "{last}");
    assert_eq!(read(&["--lines", "3"]).lines().count(), 3);
    let recent = read(&["--since", "1ms"]);
    assert!(!recent.contains("address already in use"), "{recent}");

    let arguments = ["logs", NAME, "--host", HOST, "--lines", "1", "-f"];
    let mut followed = cluster.start("cp1", "khactl", &arguments);
    // Its end so far: from then on it gives what comes.
    assert!(followed.shows(SOON, |line| !line.is_empty()));
    let log = cluster
        .host(HOST)
        .log_dir()
        .join(NAME)
        .with_extension("log");
    for said in ["the first of two words", "the second of two words"] {
        let written = fs::OpenOptions::new()
            .append(true)
            .open(&log)
            // In one piece: the component writes there too.
            .and_then(|mut file| file.write_all(format!("{said}\n").as_bytes()));
        if let Err(error) = written {
            panic!("{}: {error}", log.display());
        }
        assert!(followed.shows(SOON, |line| line == said));
    }
    assert!(!followed.has_ended(), "it goes on");
    followed.kill();
}

fn an_operators_own_readiness_probe_counts_for_every_balancer(cluster: &Cluster) {
    const MARK: &str = "/opt/khactl/unready";
    const PROBE: &str = r#"      probes: {readiness: {exec: {command: [/usr/bin/test, "!", -e, /opt/khactl/unready]}, periodMs: 1000}}"#;
    cluster.await_ready(HOSTS);
    let before = ["cp1", HOST].map(|host| cluster.component_pids(host));
    let shown = cluster.khactl(HOST, &["config", "show"]).ok();
    let shown: Value = serde_json::from_str(&shown).unwrap_or_default();
    let text = shown["spec"].as_str().unwrap_or_default();
    let asked = text.replace("    apiServer:\n", &format!("    apiServer:\n{PROBE}\n"));
    assert_ne!(asked, text);
    let apply = |text: &str| {
        cluster.write(HOST, SPEC, text);
        cluster.khactl(HOST, &["config", "apply", "-f", SPEC]).ok();
    };
    let await_state = |wanted: &str| {
        for at in ["cp1", HOST] {
            until(&format!("{HOST} is {wanted} at {at}"), SOON, || {
                let shown = cluster.khactl(at, &["vip", "backends"]).stdout;
                let shown: Value = serde_json::from_str(&shown).ok()?;
                let all = shown["backends"].as_array()?;
                let found = all.iter().find(|backend| backend["host"] == HOST)?;
                (found["state"] == wanted).then_some(())
            });
        }
    };
    apply(&asked);
    cluster.await_ready(HOSTS);
    cluster.step(&format!("the probe of {HOST} fails"));
    cluster.run(HOST, "touch", &[MARK]).ok();
    await_state("draining");
    cluster.step(&format!("the probe of {HOST} passes"));
    cluster.run(HOST, "rm", &[MARK]).ok();
    await_state("healthy");
    apply(text);
    cluster.await_ready(HOSTS);
    let after = ["cp1", HOST].map(|host| cluster.component_pids(host));
    assert_eq!(after, before, "a probe restarts nothing");
}

/// A listener inside the host that is none of khactl's, as soon as the port is free.
#[track_caller]
fn listen(cluster: &Cluster, at: SocketAddr) -> TcpListener {
    let network = HostNetwork::of(cluster.host(HOST));
    let bound = thread::spawn(move || {
        match network.and_then(|network| network.enter()) {
            Ok(()) => {}
            Err(error) => panic!("{HOST}: {error:#}"),
        }
        until(&format!("{at} on {HOST} is free"), SOON, || {
            TcpListener::bind(at).ok()
        })
    });
    match bound.join() {
        Ok(listener) => listener,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn the_supervisor_comes_and_goes_and_no_request_fails(cluster: &Cluster) {
    let rounds = if soak() { 100 } else { 10 };
    cluster.step(&format!(
        "khad of {HOST} is killed {rounds} times under load"
    ));
    cluster.await_ready(HOSTS);
    let before = cluster.component_pids(HOST);
    let target = SocketAddr::from((VIP, 6443));
    let mut probe = match Probe::start(cluster.host("client"), target) {
        Ok(probe) => probe,
        Err(error) => panic!("{error:#}"),
    };
    let writer = Writer::start(cluster);
    writer.await_writes(1);
    for round in 0..rounds {
        cluster.kill_agent(HOST);
        cluster.start_agent(HOST);
        until(
            &format!("khad found its components in round {round}"),
            SOON,
            || {
                let status = cluster.status(HOST)?;
                let own = status.components.iter().filter(|found| found.host == HOST);
                let ready = own.filter(|found| found.state == ComponentState::Ready);
                (ready.count() == COMPONENTS.len()).then_some(())
            },
        );
        assert_eq!(
            cluster.component_pids(HOST),
            before,
            "a component is another one after round {round}"
        );
        writer.await_writes(1);
    }
    if let Err(error) = probe.check() {
        panic!("{error:#}");
    }
    let samples = probe.samples();
    drop(probe);
    let failed: Vec<_> = samples.iter().filter(|sample| !sample.ok).collect();
    assert!(samples.len() > rounds, "hardly anything was asked");
    assert!(
        failed.is_empty(),
        "{} of {} requests failed: {:?}",
        failed.len(),
        samples.len(),
        failed.first()
    );
    let (acknowledged, lost) = writer.verify(cluster);
    assert_eq!(lost, [""; 0], "acknowledged and not there");
    cluster.step(&format!(
        "{} requests and {acknowledged} writes went through",
        samples.len()
    ));
}

fn a_host_that_goes_down_ends_each_component_before_what_it_needs(cluster: &Cluster) {
    cluster.await_ready(HOSTS);
    cluster.step(&format!("{HOST} goes down"));
    let host = cluster.host(HOST);
    if let Err(error) = host.stop(SOON) {
        panic!("{error}");
    }
    cluster.step(&format!("{HOST} is off"));
    let log = fs::read_to_string(host.log_dir().join("khad.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    // The last of its kind: each has ended before.
    let last = |what: &str, component: &str| {
        let told = format!(": {what} component={component} ");
        let found = lines.iter().rposition(|line| line.contains(&told));
        found.unwrap_or_else(|| panic!("{component} is not told to be {what} in:\n{log}"))
    };
    for (first, then) in [
        ("kube-scheduler", "kube-apiserver"),
        ("kube-controller-manager", "kube-apiserver"),
        ("kube-apiserver", "etcd"),
        ("etcd", "khavip"),
    ] {
        assert!(
            last("ended", first) < last("stopping", then),
            "{then} did not wait for {first}:\n{log}"
        );
    }
    let drained = "this host's API server gets nothing new drained=true";
    assert!(log.contains(drained), "not every balancer followed:\n{log}");
    if let Err(error) = host.start() {
        panic!("{error}");
    }
    cluster.await_ready(HOSTS);
}
