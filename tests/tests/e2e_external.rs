//! A control plane that something else runs: khactl brings it the VIP and the balancer, and nothing more. Real etcd
//! and kube-apiserver on three hosts, as kubeadm leaves them; one `init` and one `join` per host.
//!
//! Since no certificate of Kubernetes is khactl's here, years can pass for the agents alone.

use std::fs;

use khactl_lab::Signal;
use khactl_tests::{Cluster, FOREIGN_CA, Foreign, SOON, Writer, quick_start, until};

const HOSTS: usize = 3;
/// 6443 is the API servers' on every address.
const PORT: u16 = 8443;
/// After each fault so many writes must go through.
const WRITES: usize = 20;
/// Past two thirds of a year, and before its end.
const RENEWAL_DAYS: u64 = 300;
/// Every certificate has ended by then.
const LONG_OFF_DAYS: u64 = 4 * 366;

#[test]
fn a_control_plane_of_somebody_else_gets_a_vip_that_survives_the_loss_of_an_api_server_and_of_a_host()
 {
    let cluster = Cluster::boot("e2eexternal", HOSTS);
    let foreign = Foreign::start(&cluster);
    what_the_mode_has_no_place_for_is_refused(&cluster);

    cluster.step("init, while the API servers come up");
    let told = cluster
        .init_with("cp1", &spec(&cluster, PORT, FOREIGN_CA, ""))
        .ok();
    assert_eq!(
        steps(&told),
        [
            "check",
            "authorities",
            "consensus",
            "record",
            "khavip",
            "vip",
            "done"
        ]
    );
    foreign.client_kubeconfig(&cluster, PORT);
    cluster.put("by-one-host");

    cluster.step("two joins at once");
    let token = cluster.token("cp1", &["--uses", "2"]);
    cluster.join_at_once(&["cp2".to_owned(), "cp3".to_owned()], "cp1", &token);
    cluster.await_ready(HOSTS);
    nothing_but_khavip_is_khactls(&cluster);

    let writer = Writer::start(&cluster);
    writer.await_writes(WRITES);
    let holder = cluster.holder();

    cluster.step(&format!("the API server of {holder}, the holder, dies"));
    let killed = cluster.host(&holder).signal("kube-apiserver", Signal::KILL);
    assert!(killed > 0, "{holder} runs no API server");
    writer.await_writes(WRITES);
    until("the status tells which API server is away", SOON, || {
        let problems = cluster.leaders_status()?.problems;
        let told = problems.iter().find(|problem| problem.code == "KHA3108")?;
        assert!(told.text.contains(&holder), "{}", told.text);
        Some(())
    });
    assert_eq!(
        cluster.holders(),
        std::slice::from_ref(&holder),
        "any API server will do"
    );

    cluster.step(&format!("the host {holder} dies"));
    if let Err(error) = cluster.lab().kill(&holder) {
        panic!("{error}");
    }
    writer.await_writes(WRITES);
    assert_ne!(cluster.holder(), holder);

    cluster.step(&format!("{holder} comes back without its API server"));
    if let Err(error) = cluster.lab().start(&holder) {
        panic!("{error}");
    }
    cluster.await_ready(HOSTS);
    writer.await_writes(WRITES);
    let (acknowledged, lost) = writer.verify(&cluster);
    cluster.step(&format!("{acknowledged} writes were acknowledged"));
    assert_eq!(lost, [""; 0]);
    cluster.assert_there(&["by-one-host"]);

    for days in [RENEWAL_DAYS, LONG_OFF_DAYS] {
        agents_have_other_certificates_after(&cluster, days);
        cluster.await_ready(HOSTS);
    }
}

/// Its spec names no file of authorities. The lab's hosts have the programs already: e2e_rollout types the line that installs
/// the package where there is dpkg, among those of the hosts by hand.
#[test]
fn the_quick_start_of_the_external_mode_works_word_for_word() {
    const INSTALLING: &str = "apt-get install ";
    let by_hand = quick_start("Three hosts, by hand");
    let cluster = Cluster::boot("e2eextquick", HOSTS);
    let foreign = Foreign::start(&cluster);
    let mut token = String::new();
    for block in quick_start("External mode") {
        assert!(!block.hosts.is_empty(), "where is it typed? {block:?}");
        if block.script.starts_with(INSTALLING) {
            assert!(by_hand.contains(&block), "{block:?}");
            continue;
        }
        for host in &block.hosts {
            cluster.step(&format!("{host}: {}", block.script.replace('\n', "; ")));
            let typed = block.script.replace("TOKEN", &token);
            let script = format!("set -e\ncd /etc/khactl\n{typed}");
            let printed = cluster.run(host, "sh", &["-c", &script]).ok();
            if block.script.contains("token create") {
                // The last line; what goes before is the progress of init.
                token = printed.lines().last().unwrap_or_default().to_owned();
            }
        }
    }
    assert!(!token.is_empty(), "the page makes no token");
    cluster.await_ready(HOSTS);
    foreign.client_kubeconfig(&cluster, PORT);
    cluster.put("by-the-quick-start");
}

/// First the leader signs, once its clock is there too; then nobody is believed, and each signs for itself.
fn agents_have_other_certificates_after(cluster: &Cluster, days: u64) {
    cluster.step(&format!("{days} days pass for every agent"));
    let leaf = |host: &str| {
        let file = cluster.host(host).data_dir().join("pki/khad/tls.crt");
        fs::read_to_string(file).unwrap_or_default()
    };
    let before: Vec<_> = cluster.names().iter().map(|host| leaf(host)).collect();
    let offset_ms = (days * 24 * 3600 * 1000).to_string();
    for host in cluster.names() {
        let address = cluster.host(&host).address().to_string();
        let env = [("KHACTL_CLOCK_OFFSET_MS", offset_ms.as_str())];
        cluster.restart_agent_as(&host, &host, &address, &env);
    }
    for (host, before) in cluster.names().iter().zip(before) {
        until(&format!("{host} has another certificate"), SOON, || {
            (leaf(host) != before).then_some(())
        });
    }
    until("no agent is without a good certificate", SOON, || {
        let problems = cluster.leaders_status()?.problems;
        let told = problems.iter().any(|problem| problem.code == "KHA3063");
        (!told).then_some(())
    });
}

fn spec(cluster: &Cluster, port: u16, ca: &str, control_plane: &str) -> String {
    format!(
        "apiVersion: khactl.io/v1alpha1\n\
         kind: Cluster\n\
         metadata: {{name: {}}}\n\
         spec:\n\
         \x20 vip: {{addresses: [{}/24]}}\n\
         \x20 balancer:\n\
         \x20   port: {port}\n\
         \x20   health: {{path: /healthz, caFile: {ca}}}\n\
         \x20 controlPlane:\n\
         \x20   mode: external\n\
         {control_plane}",
        cluster.lab().name(),
        khactl_lab::VIP,
    )
}

fn what_the_mode_has_no_place_for_is_refused(cluster: &Cluster) {
    cluster.step("init with what something else decides");
    let text = "    kubernetesVersion: v1.20.2\n";
    let refused = cluster.init_with("cp1", &spec(cluster, PORT, FOREIGN_CA, text));
    let wrong = refused.refused_with("KHA1014").wrong;
    assert!(
        wrong.contains("spec.controlPlane.kubernetesVersion"),
        "{wrong}"
    );

    cluster.step("init with a file that is not there");
    let refused = cluster.init_with("cp1", &spec(cluster, PORT, "/etc/khactl/absent.crt", ""));
    let wrong = refused.refused_with("KHA1110").wrong;
    assert!(wrong.contains("/etc/khactl/absent.crt"), "{wrong}");

    cluster.step("init with the port that the API server has on every address");
    let same = spec(cluster, 6443, FOREIGN_CA, "");
    cluster.write("cp1", "/etc/khactl/same.yaml", &same);
    until("the API server listens", SOON, || {
        let preflight = cluster.khactl("cp1", &["preflight", "-f", "/etc/khactl/same.yaml"]);
        preflight.stdout.contains("KHA1025").then_some(())
    });
    let wrong = cluster
        .init_with("cp1", &same)
        .refused_with("KHA1025")
        .wrong;
    assert!(
        wrong.contains("kube-apiserver") && wrong.contains("6443"),
        "{wrong}"
    );
}

/// The steps in the order in which they were finished, from lines such as `init: vip: finished (1.2 s)`.
fn steps(told: &str) -> Vec<&str> {
    told.lines()
        .filter_map(|line| {
            let (step, what) = line.strip_prefix("init: ")?.split_once(": ")?;
            (what.starts_with("finished") || what.starts_with("done")).then_some(step)
        })
        .collect()
}

fn nothing_but_khavip_is_khactls(cluster: &Cluster) {
    cluster.step("khactl runs khavip alone, and has no certificate of Kubernetes");
    let status = until("every API server passes its checks", SOON, || {
        let status = cluster.leaders_status()?;
        let all = status
            .problems
            .iter()
            .all(|problem| problem.code != "KHA3108");
        all.then_some(status)
    });
    assert_eq!(status.etcd, []);
    assert_eq!(status.components.len(), HOSTS);
    assert!(
        status
            .components
            .iter()
            .all(|component| component.name == "khavip")
    );
    for host in cluster.names() {
        let data = cluster.host(&host).data_dir();
        let mut kept: Vec<String> = [data.join("pki"), data.join("pki/khad")]
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        kept.sort_unstable();
        assert_eq!(
            kept,
            ["ca.crt", "khad", "sealing.key", "tls.crt", "tls.key"],
            "{host}"
        );
        assert!(!data.join("etcd").exists(), "{host}");
    }
    let refusal = cluster
        .khactl("cp1", &["kubeconfig"])
        .refused_with("KHA2051");
    let server = format!("https://{}:{PORT}", khactl_lab::VIP);
    assert!(refusal.advice.contains(&server), "{}", refusal.advice);
}
