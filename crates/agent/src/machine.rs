//! The cluster state as Raft's state machine.

use khactl_model::state::{AuditEntry, ClusterState, Refused};
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
    /// A host that starts applies what came after its newest snapshot once more, and tells of it once
    /// more, with the same index.
    fn apply(&mut self, index: u64, command: &[u8]) -> Vec<u8> {
        let outcome = match entry::decode(command) {
            Ok(entry) => {
                let outcome = self.state.apply(&entry);
                if let Some(audit) = AuditEntry::of(&entry, &outcome) {
                    let AuditEntry {
                        at_ms,
                        actor,
                        action,
                        outcome,
                    } = audit;
                    tracing::info!(index, at_ms, actor, action, outcome, "audit");
                }
                outcome
            }
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
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use khactl_model::command::{Command, Entry};
    use khactl_raft::Machine;
    use proptest::prelude::*;

    /// Where the log of a test goes.
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_log_tells_who_did_what_with_which_outcome() {
        let told = Told::default();
        let writer = told.clone();
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let entry = |command| {
            entry::encode(&Entry {
                actor: "root@cp1".into(),
                at_ms: 5,
                command,
            })
        };
        tracing::subscriber::with_default(log, || {
            let mut machine = ClusterMachine::default();
            let _ = machine.apply(7, &entry(Command::DropToken { id: "none".into() }));
            // The journal tells the steps.
            let _ = machine.apply(
                8,
                &entry(Command::RecordStep {
                    operation: 1,
                    step: "etcd".into(),
                    state: khactl_model::command::StepState::Finished,
                    text: String::new(),
                }),
            );
            assert_eq!(machine.state().audit.len(), 1);
        });
        let bytes = told.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        for part in [
            "INFO",
            "index=7",
            "at_ms=5",
            "actor=\"root@cp1\"",
            "action=\"revoke token none\"",
            "outcome=\"KHA2010\"",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

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
    proptest! {
        #[test]
        fn a_damaged_snapshot_is_refused_or_is_a_state(
            at in any::<prop::sample::Index>(),
            bytes in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut snapshot = ClusterMachine::default().snapshot();
            let at = at.index(snapshot.len());
            let end = snapshot.len().min(at + bytes.len());
            snapshot.splice(at..end, bytes);
            let mut machine = ClusterMachine::default();
            let accepted = machine.restore(&snapshot).is_ok();
            prop_assert_eq!(ClusterMachine::check_snapshot(&snapshot).is_ok(), accepted);
            prop_assert_eq!(ClusterMachine::check_snapshot(&machine.snapshot()), Ok(()));
        }

        #[test]
        fn arbitrary_bytes_are_applied_without_harm(command in prop::collection::vec(any::<u8>(), 0..200)) {
            let answer = ClusterMachine::default().apply(1, &command);
            prop_assert!(entry::decode_answer(&answer).is_ok());
        }
    }
}
