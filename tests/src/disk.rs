//! A small disk below a host's data folder, which a test fills up.

use crate::cluster::Cluster;

/// Where the image lies, inside the host.
const IMAGE: &str = "/var/log/khactl/disk.img";
/// What takes the room.
const FILLER: &str = "/var/lib/khactl/filler";

/// An ext4 file system of its own at a host's `/var/lib/khactl`; it goes with the host's power.
#[derive(Debug)]
pub struct SmallDisk<'a> {
    cluster: &'a Cluster,
    host: String,
}

impl<'a> SmallDisk<'a> {
    /// Puts one of `mebibytes` under the data folder of a host that is idle, and starts its agent
    /// again on it.
    #[track_caller]
    pub fn put_under(cluster: &'a Cluster, host: &str, mebibytes: u64) -> Self {
        cluster.kill_agent(host);
        let script = format!(
            "set -e; rm -rf /var/lib/khactl/*; truncate -s {mebibytes}M {IMAGE}; \
             mkfs.ext4 -q -F -m 0 {IMAGE}; mount -o loop {IMAGE} /var/lib/khactl; \
             chmod 711 /var/lib/khactl"
        );
        cluster.run(host, "sh", &["-c", &script]).ok();
        cluster.start_agent(host);
        Self {
            cluster,
            host: host.to_owned(),
        }
    }

    /// Takes all room but `left_kib`.
    #[track_caller]
    pub fn fill(&self, left_kib: u64) {
        let script = format!(
            "set -e; free=$(df --output=avail -k /var/lib/khactl | tail -1); \
             fallocate -l $(( (free - {left_kib}) * 1024 )) {FILLER}"
        );
        self.cluster.run(&self.host, "sh", &["-c", &script]).ok();
    }

    /// Gives the room back.
    #[track_caller]
    pub fn empty(&self) {
        self.cluster.run(&self.host, "rm", &[FILLER]).ok();
    }
}
