//! Hosts that leave and come back with what they knew: the VIP has one holder throughout, and it is never
//! one that was removed, nor one of a minority.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::Duration;

use khactl_lab::oracle::Oracle;
use khactl_lab::{Signal, VIP};
use khactl_tests::{Cluster, HostNetwork, SOON, until};

/// So many datagrams are more than a few tries to get the lease.
const TRIES: u64 = 20;
/// Of the API servers that something else runs, and of the balancer before them.
const API_PORT: u16 = 6443;
const PORT: u16 = 8443;

#[test]
fn hosts_that_come_back_with_an_old_membership_never_hold_the_vip_on_their_own() {
    let watched = Watched::up();
    a_host_that_missed_changes_takes_part_in_the_newest_epoch_only(&watched);
    a_removed_host_that_comes_back_never_holds(&watched);
    neither_an_old_minority_nor_one_of_three_brings_the_vip_up(&watched);
    watched.one_holder_at_any_time();
}

#[test]
fn a_control_plane_of_three_is_taken_down_to_one_host_by_host() {
    let cluster = Cluster::up("e2eremoving", 3);
    let leader = cluster.leader();
    let [dead, other] = others(&cluster, &leader);
    let refused = |host: &str, code: &str| {
        let outcome = cluster.khactl(&leader, &["remove", host, "--yes"]);
        outcome.refused_with(code).wrong
    };
    cluster.step("a host too few, an unknown host and the host itself are refused");
    let wrong = refused(&dead, "KHA2085");
    assert!(wrong.contains("the loss of 1 of its 3 members"), "{wrong}");
    refused("cp9", "KHA2020");
    refused(&leader, "KHA2083");
    cluster
        .khactl(&leader, &["remove", &dead])
        .refused_with("KHA0914");

    cluster.step(&format!("{dead} dies for good and is removed"));
    kill(&cluster, &dead);
    cluster.await_silent(&dead);
    let wrong = refused(&other, "KHA2084");
    assert!(wrong.contains("of 2 members 1 would run"), "{wrong}");
    remove(&cluster, &leader, &dead);
    cluster.await_ready(2);
    let again = remove(&cluster, &leader, &dead);
    assert!(again.contains("is removed"), "{again}");
    etcd_has(&cluster, 2);
    cluster.put("on-two-hosts");

    cluster.step(&format!("{leader}, which leads, is removed and lives"));
    remove(&cluster, &other, &leader);
    cluster.await_ready(1);
    etcd_has(&cluster, 1);
    is_told_that_it_was_removed(&cluster, &leader);
    assert_eq!(cluster.holder(), other);
    cluster.put("on-one-host");
    cluster.assert_there(&["on-two-hosts", "on-one-host"]);
}

/// Five hosts, four of them in the cluster, and somebody who sees every answer for the VIP.
struct Watched {
    cluster: Cluster,
    oracle: Oracle,
}

impl Watched {
    fn up() -> Self {
        let cluster = Cluster::boot("e2emembers", 5);
        for host in cluster.names() {
            serve(&cluster, &host);
        }
        let oracle = match Oracle::start(cluster.lab(), &[VIP.into()]) {
            Ok(oracle) => oracle,
            Err(error) => panic!("the oracle does not start: {error}"),
        };
        let name = cluster.lab().name();
        let spec = format!(
            "apiVersion: khactl.io/v1alpha1\n\
             kind: Cluster\n\
             metadata: {{name: {name}}}\n\
             spec:\n\
             \x20 vip: {{addresses: [{VIP}/24]}}\n\
             \x20 balancer: {{port: {PORT}, health: {{scheme: http, path: /}}}}\n\
             \x20 controlPlane: {{mode: external}}\n"
        );
        cluster.init_with("cp1", &spec).ok();
        let token = cluster.token("cp1", &["--uses", "3"]);
        let joining = ["cp2", "cp3", "cp4"].map(str::to_owned);
        cluster.join_at_once(&joining, "cp1", &token);
        cluster.await_ready(4);
        Self { cluster, oracle }
    }

    fn answers(&self) -> khactl_lab::oracle::Answers {
        match self.oracle.answers() {
            Ok(answers) => answers,
            Err(error) => panic!("the oracle saw not everything: {error}"),
        }
    }

    /// How often a host was seen to answer for the VIP.
    fn answered(&self, host: &str) -> u32 {
        let mac = &self.cluster.host(host).layout().mac;
        let answers = self.answers();
        let own = answers.spans().iter().filter(|s| s.mac.to_string() == *mac);
        own.map(|span| span.arp + span.ndp + span.ip).sum()
    }

    fn one_holder_at_any_time(&self) {
        let answers = self.answers();
        assert!(!answers.spans().is_empty(), "the oracle saw nobody");
        let overlaps = answers.overlaps(Duration::ZERO, Duration::MAX);
        assert!(overlaps.is_empty(), "two at once: {overlaps:?}");
    }
}

fn a_host_that_missed_changes_takes_part_in_the_newest_epoch_only(watched: &Watched) {
    let cluster = &watched.cluster;
    let epoch = || cluster.leaders_status().map(|status| status.vip.epoch);
    let before = until("the epoch is known", SOON, epoch);
    cluster.step("cp4 dies, cp3 is removed, cp5 joins, cp4 comes back");
    kill(cluster, "cp4");
    cluster.await_silent("cp4");
    remove(cluster, "cp1", "cp3");
    is_told_that_it_was_removed(cluster, "cp3");
    let token = cluster.token("cp1", &[]);
    cluster.join("cp5", "cp1", &token).ok();
    assert_eq!(epoch(), Some(before + 2));
    start(cluster, "cp4");
    until("cp4 takes part in the newest epoch", SOON, || {
        let lease = cluster.vip_status("cp4")?.lease?;
        (lease.ready && lease.epoch == before + 2 && lease.fence == lease.epoch).then_some(())
    });
    cluster.await_ready(4);
    watched.one_holder_at_any_time();
}

fn a_removed_host_that_comes_back_never_holds(watched: &Watched) {
    let cluster = &watched.cluster;
    cluster.step("cp5's processes die; it is removed meanwhile, and does not hear of it");
    cluster.kill_agent("cp5");
    cluster.host("cp5").signal("khavip", Signal::KILL);
    remove(cluster, "cp1", "cp5");
    let answered = watched.answered("cp5");
    if let Err(error) = cluster.lab().cut("cp5") {
        panic!("{error}");
    }
    // Its tmpfs has the lease's record of this boot still.
    cluster.start_agent("cp5");
    tries_in_vain(cluster, "cp5");
    cluster.step("cp5 reaches the others again");
    if let Err(error) = cluster.lab().heal("cp5") {
        panic!("{error}");
    }
    is_told_that_it_was_removed(cluster, "cp5");
    cluster.restart_agent("cp5");
    is_told_that_it_was_removed(cluster, "cp5");
    assert_eq!(watched.answered("cp5"), answered, "cp5 answered for it");
    cluster.await_ready(3);
    watched.one_holder_at_any_time();
}

fn neither_an_old_minority_nor_one_of_three_brings_the_vip_up(watched: &Watched) {
    let cluster = &watched.cluster;
    let removed = ["cp3", "cp5"];
    cluster.step("all hosts lose their power; the two that were removed start alone");
    thread::scope(|scope| {
        for host in cluster.names() {
            scope.spawn(move || kill(cluster, &host));
        }
    });
    let names = cluster.names();
    let answered = || names.iter().map(|host| watched.answered(host)).sum::<u32>();
    let before = answered();
    for host in removed {
        start(cluster, host);
    }
    // Nobody is there to tell them: they know.
    for host in removed {
        is_told_that_it_was_removed(cluster, host);
    }
    cluster.step("one of the three starts");
    start(cluster, "cp1");
    tries_in_vain(cluster, "cp1");
    assert_eq!(cluster.holders(), [""; 0]);
    assert_eq!(answered(), before, "somebody answered for the VIP");
    for host in removed {
        is_told_that_it_was_removed(cluster, host);
    }
    cluster.step("the second one starts");
    start(cluster, "cp2");
    let holder = cluster.holder();
    assert!(["cp1", "cp2"].contains(&holder.as_str()), "{holder} holds");
    start(cluster, "cp4");
    cluster.await_ready(3);
}

/// Its khavip works with what it was told last, asks for the lease, and does not get it.
fn tries_in_vain(cluster: &Cluster, host: &str) {
    let lease = until(&format!("{host} asks for the lease"), SOON, || {
        let lease = cluster.vip_status(host)?.lease?;
        (lease.running && lease.sent + lease.unsent >= TRIES).then_some(lease)
    });
    assert!(!lease.holding && lease.acquired == 0, "{host}: {lease:?}");
}

fn is_told_that_it_was_removed(cluster: &Cluster, host: &str) {
    until(&format!("{host} says that it was removed"), SOON, || {
        let problems = cluster.status(host)?.problems;
        problems.iter().find(|p| p.code == "KHA3021").map(drop)
    });
    until(&format!("{host} runs nothing any more"), SOON, || {
        cluster.component_pids(host).is_empty().then_some(())
    });
}

fn etcd_has(cluster: &Cluster, members: usize) {
    let Some(status) = cluster.leaders_status() else {
        panic!("the leader gives no status");
    };
    assert_eq!(status.etcd.len(), members, "{:?}", status.etcd);
    let foreign = status.problems.iter().find(|p| p.code == "KHA3105");
    assert_eq!(foreign, None, "etcd has a member that was removed");
}

#[track_caller]
fn remove(cluster: &Cluster, by: &str, host: &str) -> String {
    cluster.step(&format!("{by} removes {host}"));
    let printed = cluster.khactl(by, &["remove", host, "--yes"]).ok();
    cluster.step(&format!("{host} is removed"));
    printed
}

fn others(cluster: &Cluster, one: &str) -> [String; 2] {
    let mut names = cluster.names();
    names.retain(|name| name != one);
    match <[String; 2]>::try_from(names) {
        Ok(two) => two,
        Err(names) => panic!("{names:?} are not two"),
    }
}

fn kill(cluster: &Cluster, host: &str) {
    if let Err(error) = cluster.host(host).kill() {
        panic!("{error}");
    }
}

fn start(cluster: &Cluster, host: &str) {
    if let Err(error) = cluster.host(host).boot() {
        panic!("{error}");
    }
    serve(cluster, host);
    if let Err(error) = cluster.host(host).start() {
        panic!("{error}");
    }
}

/// What something else runs on the host: it answers every question with "all is well".
fn serve(cluster: &Cluster, host: &str) {
    let network = match HostNetwork::of(cluster.host(host)) {
        Ok(network) => network,
        Err(error) => panic!("{error:#}"),
    };
    thread::spawn(move || {
        let listener = network.enter().and_then(|()| {
            let any = (Ipv4Addr::UNSPECIFIED, API_PORT);
            Ok(TcpListener::bind(any)?)
        });
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => panic!("{error:#}"),
        };
        for client in listener.incoming().flatten() {
            answer(client);
        }
    });
}

/// A client that goes away in between is none of this server's business.
fn answer(mut client: impl Read + Write) {
    let mut request = [0; 1024];
    let _ = client.read(&mut request);
    let _ =
        client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
}
