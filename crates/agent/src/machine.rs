//! The cluster state as Raft's state machine.

use khactl_model::state::{ClusterState, Refused};
use khactl_proto::entry;
use serde::{Deserialize, Serialize};

/// The snapshot's form; a newer one is refused.
const SNAPSHOT_VERSION: u32 = 1;

#[derive(Serialize)]
struct SnapshotOut<'a> {
    version: u32,
    state: &'a ClusterState,
}

#[derive(Deserialize)]
struct SnapshotIn {
    version: u32,
    state: ClusterState,
}

/// Applies the log to the cluster state.
#[derive(Debug, Default)]
pub struct ClusterMachine {
    state: ClusterState,
}

impl ClusterMachine {
    /// The state as of the last applied entry.
    pub fn state(&self) -> &ClusterState {
        &self.state
    }
}

impl khactl_raft::Machine for ClusterMachine {
    fn apply(&mut self, _index: u64, command: &[u8]) -> Vec<u8> {
        let outcome = match entry::decode(command) {
            Ok(entry) => self.state.apply(&entry),
            // `check_command` keeps such an entry out of every log that this build accepts.
            Err(error) => Err(Refused {
                code: "KHA2003",
                wrong: error.to_string(),
                advice: "upgrade khad on this host".to_owned(),
            }),
        };
        entry::encode_answer(&outcome)
    }

    fn snapshot(&self) -> Vec<u8> {
        serde_json::to_vec(&SnapshotOut {
            version: SNAPSHOT_VERSION,
            state: &self.state,
        })
        .expect("the state has string keys and no foreign types")
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let snapshot: SnapshotIn = serde_json::from_slice(bytes)
            .map_err(|error| format!("the snapshot of the cluster state is damaged: {error}"))?;
        if snapshot.version != SNAPSHOT_VERSION {
            return Err(format!(
                "the snapshot of the cluster state has version {}, and this khad reads {SNAPSHOT_VERSION}; upgrade khad on this host",
                snapshot.version
            ));
        }
        self.state = snapshot.state;
        Ok(())
    }

    fn check_command(command: &[u8]) -> Result<(), String> {
        entry::decode(command)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    fn check_snapshot(bytes: &[u8]) -> Result<(), String> {
        Self::default().restore(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use khactl_model::command::{Command, Entry};
    use khactl_raft::Machine;

    #[test]
    fn a_snapshot_restores_the_same_state_and_a_newer_one_is_refused() {
        let mut machine = ClusterMachine::default();
        let command = entry::encode(&Entry {
            actor: "root@cp1".into(),
            at_ms: 5,
            command: Command::DropToken { id: "none".into() },
        });
        let answer = entry::decode_answer(&machine.apply(1, &command)).unwrap();
        assert_eq!(answer.unwrap_err().code, "KHA2010");
        let mut other = ClusterMachine::default();
        other.restore(&machine.snapshot()).unwrap();
        assert_eq!(other.state(), machine.state());

        let text = String::from_utf8(machine.snapshot()).unwrap();
        let newer = text.replace("\"version\":1", "\"version\":2");
        let refused = other.restore(newer.as_bytes()).unwrap_err();
        assert!(refused.contains("version 2"), "{refused}");
        assert_eq!(other.state(), machine.state());
    }

    #[test]
    fn a_command_of_a_newer_agent_is_refused_before_it_gets_into_the_log() {
        assert!(
            ClusterMachine::check_command(b"\x08\x63")
                .unwrap_err()
                .contains("version 99")
        );
    }
}
