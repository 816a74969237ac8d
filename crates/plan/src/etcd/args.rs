//! etcd's arguments, for 3.4 and 3.5. Its timing stays at its defaults; history is compacted by
//! the apiserver, not by etcd.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::cx::Cx;
use crate::flags::Flags;

/// Where etcd tells its health in plain text; on loopback only.
const METRICS_URL: &str = "http://127.0.0.1:2381";
/// The hash of the whole store is compared over the members this often: rare enough to cost
/// nothing, often enough that a fault is found before the backups with sound data are gone.
const CORRUPT_CHECK_TIME: &str = "4h";
/// Log entries between two snapshots. etcd's own 100,000 are kept in memory; a tenth is what a
/// control plane's member can spare.
const SNAPSHOT_COUNT: &str = "10000";

/// The arguments of this host's member.
pub(super) fn render(cx: &Cx<'_>) -> Vec<String> {
    let host = cx.host;
    let pki = cx.paths.pki("etcd");
    let client = host.etcd_client_url();
    let peer = host.etcd_peer_url();
    let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2379);
    let mut flags = Flags::default();
    flags
        .set("name", &host.name)
        .set("data-dir", cx.paths.etcd_data())
        .set("listen-client-urls", format!("https://{local},{client}"))
        .set("advertise-client-urls", client)
        .set("listen-peer-urls", &peer)
        .set("initial-advertise-peer-urls", &peer)
        .set("initial-cluster", &host.etcd.initial_cluster)
        .set("initial-cluster-state", initial_state(cx))
        .set("initial-cluster-token", cluster_id(cx))
        .set("listen-metrics-urls", METRICS_URL)
        .set("client-cert-auth", "true")
        .set("cert-file", format!("{pki}/server.crt"))
        .set("key-file", format!("{pki}/server.key"))
        .set("trusted-ca-file", format!("{pki}/ca.crt"))
        .set("peer-client-cert-auth", "true")
        .set("peer-cert-file", format!("{pki}/peer.crt"))
        .set("peer-key-file", format!("{pki}/peer.key"))
        .set("peer-trusted-ca-file", format!("{pki}/ca.crt"))
        .set("experimental-initial-corrupt-check", "true")
        .set("experimental-corrupt-check-time", CORRUPT_CHECK_TIME)
        .set("snapshot-count", SNAPSHOT_COUNT);
    flags.over(&cx.spec.control_plane.etcd.extra_args)
}

/// `new` for the first start of the first host alone; everyone else meets a cluster.
fn initial_state(cx: &Cx<'_>) -> &'static str {
    let host = cx.host;
    let alone = format!("{}={}", host.name, host.etcd_peer_url());
    if !host.etcd.started && host.etcd.initial_cluster == alone {
        "new"
    } else {
        "existing"
    }
}

fn cluster_id<'a>(cx: &Cx<'a>) -> &'a str {
    cx.state.cluster.as_ref().map_or("", |cluster| &cluster.id)
}
