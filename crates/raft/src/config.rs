//! What a member of the group is started with.

use std::path::PathBuf;

/// Settings of one member; times and names must be the same on all of them.
#[derive(Debug, Clone)]
pub struct Config {
    /// This member's id, see [`crate::Peer::id`].
    pub node_id: u64,
    /// Folder of the store, made 0700 if missing. Nothing else may live in it.
    pub data_dir: PathBuf,
    /// Time between a leader's heartbeats, milliseconds.
    pub heartbeat_ms: u64,
    /// A follower campaigns this long after its leader's lease ran out, drawn anew each time
    /// from `[min, max)`, milliseconds; `max` is also the length of the lease.
    pub election_timeout_ms: (u64, u64),
    /// Name of the cluster; messages and stores of another one are refused.
    pub cluster: String,
    /// A snapshot is taken, and the log before it shortened, after so many entries.
    pub snapshot_every: u64,
    /// Nothing new is accepted while the file system has fewer free bytes than this: RocksDB
    /// needs room to flush and to compact, and an agent that can write is easier to cure.
    pub reserve_bytes: u64,
}

impl Config {
    /// Few enough to be applied again at start in well under a second, and enough that a
    /// member that was away for a few minutes is served from the log.
    pub const SNAPSHOT_EVERY: u64 = 2_000;
    /// Two memtables, their flushed copies and a compaction of them, with room to spare.
    pub const RESERVE_BYTES: u64 = 16 * 1024 * 1024;

    /// The given settings with the default snapshot distance and disk reserve.
    pub fn new(
        node_id: u64,
        cluster: impl Into<String>,
        data_dir: impl Into<PathBuf>,
        heartbeat_ms: u64,
        election_timeout_ms: (u64, u64),
    ) -> Self {
        Self {
            node_id,
            data_dir: data_dir.into(),
            heartbeat_ms,
            election_timeout_ms,
            cluster: cluster.into(),
            snapshot_every: Self::SNAPSHOT_EVERY,
            reserve_bytes: Self::RESERVE_BYTES,
        }
    }

    /// Length of the lease that a leader holds from its followers, milliseconds.
    pub(crate) fn lease_ms(&self) -> u64 {
        // openraft ties the lease to the longer election timeout.
        self.election_timeout_ms.1
    }

    /// openraft's settings, checked.
    pub(crate) fn raft(&self) -> Result<openraft::Config, openraft::ConfigError> {
        let (min, max) = self.election_timeout_ms;
        openraft::Config {
            cluster_name: self.cluster.clone(),
            heartbeat_interval: self.heartbeat_ms,
            election_timeout_min: min,
            election_timeout_max: max,
            enable_pre_vote: Some(true),
            // A restarted leader would go on without asking anyone.
            enable_leader_restore: Some(false),
            // Elections are switched on when the silence after a start is over.
            enable_elect: false,
            // The least that openraft accepts: an isolated leader falls silent after its lease
            // and looks for its quorum in phases of this length.
            quorum_loss_probe_interval: Some(max.saturating_mul(2)),
            snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(self.snapshot_every),
            max_in_snapshot_log_to_keep: self.snapshot_every / 4,
            replication_lag_threshold: self.snapshot_every.saturating_mul(2),
            // A snapshot crosses as one call; a slow link must not cut it off.
            install_snapshot_timeout: 60_000,
            max_payload_entries: MAX_ENTRIES_PER_APPEND,
            api_channel_size: Some(1024),
            notification_channel_size: Some(4096),
            backoff: "100ms 200ms ...1s".to_owned(),
            ..openraft::Config::default()
        }
        .validate()
    }
}

/// Entries in one append at the most, along with the byte limit of the log reader.
pub(crate) const MAX_ENTRIES_PER_APPEND: u64 = 256;
/// A proposal's length at the most, bytes: etcd draws its own line at 1.5 MiB.
pub(crate) const MAX_COMMAND_BYTES: usize = 1024 * 1024;
/// The log reader stops after so many bytes, so that an append stays well under the message
/// limit: the last entry may exceed it by [`MAX_COMMAND_BYTES`].
pub(crate) const MAX_APPEND_BYTES: usize = 2 * 1024 * 1024;
/// Length of a message on the wire at the most, both ways. tonic's default of 4 MiB is less
/// than what `MAX_APPEND_BYTES` and one command may reach with their framing.
pub(crate) const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;
/// Data in one snapshot chunk, bytes.
pub(crate) const SNAPSHOT_CHUNK_BYTES: usize = 256 * 1024;
/// A snapshot's length at the most, bytes: the cluster state is a few hundred KiB.
pub(crate) const MAX_SNAPSHOT_BYTES: u64 = 64 * 1024 * 1024;
