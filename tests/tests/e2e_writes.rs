//! Nothing that the API acknowledged is lost while hosts die.

use khactl_tests::{Cluster, Random, Writer, soak};

const HOSTS: usize = 3;
/// Writes that must be acknowledged after each event before the next one.
const WRITES: usize = 20;

#[test]
fn no_acknowledged_write_is_lost_over_random_host_kills() {
    let kills = if soak() { 20 } else { 5 };
    let mut random = Random::seeded();
    let cluster = Cluster::up("e2ewrites", HOSTS);
    let names = cluster.names();
    let writer = Writer::start(&cluster);
    writer.await_writes(WRITES);
    for number in 1..=kills {
        let host = random.choose(&names);
        cluster.step(&format!("kill {number} of {kills}: {host}"));
        let lab_host = cluster.host(host);
        if let Err(error) = lab_host.kill() {
            panic!("{error}");
        }
        writer.await_writes(WRITES);
        assert_ne!(&cluster.holder(), host, "a dead host holds the VIP");
        cluster.await_silent(host);
        if let Err(error) = lab_host.start() {
            panic!("{error}");
        }
        cluster.await_ready(HOSTS);
        writer.await_writes(WRITES);
    }
    let (acknowledged, lost) = writer.verify(&cluster);
    cluster.step(&format!("{acknowledged} writes were acknowledged"));
    assert!(acknowledged >= (2 * kills + 1) * WRITES);
    assert_eq!(lost, Vec::<String>::new(), "acknowledged and lost");
}
