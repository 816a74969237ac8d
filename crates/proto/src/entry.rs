//! Log entries: versioned protobuf on the wire and on the disk, `khactl_model` in memory.

use khactl_model::command::{
    AddToken, AdmitHost, Command, CreateCluster, Entry, OperationKind, SealedAuthority,
    SealedSecret, SetEtcdStage, StepState,
};
use khactl_model::state::{EtcdStage, Refused, Role};
use prost::Message;

use crate::v1::{self, answer::Outcome, entry::Command as Wire};

/// The version this agent writes, and the newest it reads.
pub const ENTRY_VERSION: u32 = 1;

/// Why bytes are not a log entry that this agent can apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Not a protobuf message of that form.
    #[error("reading a log entry: it is not a khactl entry; the log may be damaged")]
    Malformed(#[source] prost::DecodeError),
    /// Written by a newer agent.
    #[error(
        "reading a log entry: it has version {found}, and this khad reads up to {ENTRY_VERSION}; upgrade khad on this host"
    )]
    Version {
        /// The entry's version.
        found: u32,
    },
    /// No command that this agent knows.
    #[error(
        "reading a log entry: it holds a command that this khad does not know; upgrade khad on this host"
    )]
    Unknown,
    /// A field does not hold what it should.
    #[error("reading a log entry: field {field} holds `{value}`")]
    Field {
        /// The field's name.
        field: &'static str,
        /// What it holds.
        value: String,
    },
}

fn field<T>(field: &'static str, value: &str, parsed: Option<T>) -> Result<T, EntryError> {
    parsed.ok_or_else(|| EntryError::Field {
        field,
        value: value.to_owned(),
    })
}

fn optional(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Encodes an entry for the log.
pub fn encode(entry: &Entry) -> Vec<u8> {
    let command = match entry.command.clone() {
        Command::CreateCluster(c) => Wire::CreateCluster(v1::CreateCluster {
            id: c.id,
            name: c.name,
            spec_yaml: c.spec_yaml,
            host_name: c.host_name,
            address: c.address.to_string(),
            key_pin: c.key_pin,
            authorities: c
                .authorities
                .into_iter()
                .map(|a| v1::SealedAuthority {
                    name: a.name,
                    certificate_pem: a.certificate_pem,
                    sealed_key: a.sealed_key.into(),
                })
                .collect(),
            secrets: c
                .secrets
                .into_iter()
                .map(|s| v1::SealedSecret {
                    name: s.name,
                    sealed: s.sealed.into(),
                    public_pem: s.public_pem,
                })
                .collect(),
        }),
        Command::AdmitHost(a) => Wire::AdmitHost(v1::AdmitHost {
            token_id: a.token_id,
            host_name: a.host_name,
            address: a.address.to_string(),
            key_pin: a.key_pin,
        }),
        Command::AddToken(t) => Wire::AddToken(v1::AddToken {
            id: t.id,
            secret_hash: t.secret_hash.into(),
            role: t.role.as_str().to_owned(),
            host_name: t.host_name.unwrap_or_default(),
            expires_at_ms: t.expires_at_ms,
            uses: t.uses,
        }),
        Command::DropToken { id } => Wire::DropToken(v1::DropToken { id }),
        Command::SetEtcdStage(s) => Wire::SetEtcdStage(v1::SetEtcdStage {
            host_name: s.host_name,
            stage: s.stage.as_str().to_owned(),
            member_id: s.member_id,
            initial_cluster: s.initial_cluster,
            started: s.started,
        }),
        Command::SetLease { epoch, members } => Wire::SetLease(v1::SetLease { epoch, members }),
        Command::StartOperation { kind, host_name } => Wire::StartOperation(v1::StartOperation {
            kind: kind.as_str().to_owned(),
            host_name,
        }),
        Command::RecordStep {
            operation,
            step,
            state,
            text,
        } => Wire::RecordStep(v1::RecordStep {
            operation,
            step,
            state: state.as_str().to_owned(),
            text,
        }),
        Command::SetSpec { based_on, yaml } => Wire::SetSpec(v1::SetSpec {
            based_on,
            spec_yaml: yaml,
        }),
        Command::ChangeArguments {
            based_on,
            yaml,
            why,
        } => Wire::ChangeArguments(v1::ChangeArguments {
            based_on,
            spec_yaml: yaml,
            why,
        }),
        Command::DrainHost { host_id, revision } => {
            Wire::DrainHost(v1::DrainHost { host_id, revision })
        }
        Command::StepArguments {
            host_id,
            revision,
            keep,
        } => Wire::StepArguments(v1::StepArguments {
            host_id,
            revision,
            keep,
        }),
        Command::StartRemoval {
            host_name,
            forced,
            leaves,
        } => Wire::StartRemoval(v1::StartRemoval {
            host_name,
            forced,
            leaves,
        }),
        Command::AbortRemoval { operation } => Wire::AbortRemoval(v1::AbortRemoval { operation }),
        Command::FinishRemoval { host_id } => Wire::FinishRemoval(v1::FinishRemoval { host_id }),
    };
    v1::Entry {
        version: ENTRY_VERSION,
        actor: entry.actor.clone(),
        at_ms: entry.at_ms,
        command: Some(command),
    }
    .encode_to_vec()
}

/// Decodes an entry of the log.
///
/// # Errors
/// A version or command that this agent does not know, or a damaged entry.
pub fn decode(bytes: &[u8]) -> Result<Entry, EntryError> {
    let wire = v1::Entry::decode(bytes).map_err(EntryError::Malformed)?;
    if wire.version == 0 || wire.version > ENTRY_VERSION {
        return Err(EntryError::Version {
            found: wire.version,
        });
    }
    let command = match wire.command.ok_or(EntryError::Unknown)? {
        Wire::CreateCluster(c) => Command::CreateCluster(CreateCluster {
            address: field("address", &c.address, c.address.parse().ok())?,
            id: c.id,
            name: c.name,
            spec_yaml: c.spec_yaml,
            host_name: c.host_name,
            key_pin: c.key_pin,
            authorities: c
                .authorities
                .into_iter()
                .map(|a| SealedAuthority {
                    name: a.name,
                    certificate_pem: a.certificate_pem,
                    sealed_key: a.sealed_key.to_vec(),
                })
                .collect(),
            secrets: c
                .secrets
                .into_iter()
                .map(|s| SealedSecret {
                    name: s.name,
                    sealed: s.sealed.to_vec(),
                    public_pem: s.public_pem,
                })
                .collect(),
        }),
        Wire::AdmitHost(a) => Command::AdmitHost(AdmitHost {
            address: field("address", &a.address, a.address.parse().ok())?,
            token_id: a.token_id,
            host_name: a.host_name,
            key_pin: a.key_pin,
        }),
        Wire::AddToken(t) => Command::AddToken(AddToken {
            role: field("role", &t.role, Role::parse(&t.role))?,
            host_name: optional(&t.host_name),
            id: t.id,
            secret_hash: t.secret_hash.to_vec(),
            expires_at_ms: t.expires_at_ms,
            uses: t.uses,
        }),
        Wire::DropToken(t) => Command::DropToken { id: t.id },
        Wire::SetEtcdStage(s) => Command::SetEtcdStage(SetEtcdStage {
            stage: field("stage", &s.stage, EtcdStage::parse(&s.stage))?,
            host_name: s.host_name,
            member_id: s.member_id,
            initial_cluster: s.initial_cluster,
            started: s.started,
        }),
        Wire::SetLease(l) => Command::SetLease {
            epoch: l.epoch,
            members: l.members,
        },
        Wire::StartOperation(o) => Command::StartOperation {
            kind: field("kind", &o.kind, OperationKind::parse(&o.kind))?,
            host_name: o.host_name,
        },
        Wire::RecordStep(s) => Command::RecordStep {
            state: field("state", &s.state, StepState::parse(&s.state))?,
            operation: s.operation,
            step: s.step,
            text: s.text,
        },
        Wire::SetSpec(s) => Command::SetSpec {
            based_on: s.based_on,
            yaml: s.spec_yaml,
        },
        Wire::ChangeArguments(c) => Command::ChangeArguments {
            based_on: c.based_on,
            yaml: c.spec_yaml,
            why: c.why,
        },
        Wire::DrainHost(d) => Command::DrainHost {
            host_id: d.host_id,
            revision: d.revision,
        },
        Wire::StepArguments(s) => Command::StepArguments {
            host_id: s.host_id,
            revision: s.revision,
            keep: s.keep,
        },
        Wire::StartRemoval(r) => Command::StartRemoval {
            host_name: r.host_name,
            forced: r.forced,
            leaves: r.leaves,
        },
        Wire::AbortRemoval(a) => Command::AbortRemoval {
            operation: a.operation,
        },
        Wire::FinishRemoval(r) => Command::FinishRemoval { host_id: r.host_id },
    };
    Ok(Entry {
        actor: wire.actor,
        at_ms: wire.at_ms,
        command,
    })
}

/// Encodes what applying an entry gave.
pub fn encode_answer(outcome: &Result<u64, Refused>) -> Vec<u8> {
    let outcome = match outcome {
        Ok(number) => Outcome::Accepted(v1::Accepted { number: *number }),
        Err(refused) => Outcome::Rejected(v1::Rejected {
            code: refused.code.to_owned(),
            wrong: refused.wrong.clone(),
            advice: refused.advice.clone(),
        }),
    };
    v1::Answer {
        outcome: Some(outcome),
    }
    .encode_to_vec()
}

/// Decodes what applying an entry gave.
///
/// # Errors
/// Bytes that are no answer.
pub fn decode_answer(bytes: &[u8]) -> Result<Result<u64, v1::Rejected>, EntryError> {
    match v1::Answer::decode(bytes)
        .map_err(EntryError::Malformed)?
        .outcome
        .ok_or(EntryError::Unknown)?
    {
        Outcome::Accepted(accepted) => Ok(Ok(accepted.number)),
        Outcome::Rejected(rejected) => Ok(Err(rejected)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_survives_the_log() {
        let commands = [
            Command::DropToken {
                id: "abc123".into(),
            },
            Command::SetLease {
                epoch: 2,
                members: vec![1, 2],
            },
            Command::StartOperation {
                kind: OperationKind::Join,
                host_name: "cp2".into(),
            },
            Command::RecordStep {
                operation: 1,
                step: "etcd".into(),
                state: StepState::Finished,
                text: "ready".into(),
            },
            Command::SetSpec {
                based_on: 1,
                yaml: "a: b".into(),
            },
            Command::ChangeArguments {
                based_on: 2,
                yaml: "a: b".into(),
                why: "it ended".into(),
            },
            Command::DrainHost {
                host_id: 2,
                revision: 3,
            },
            Command::StepArguments {
                host_id: 2,
                revision: 3,
                keep: true,
            },
            Command::StartRemoval {
                host_name: "cp2".into(),
                forced: true,
                leaves: true,
            },
            Command::AbortRemoval { operation: 3 },
            Command::FinishRemoval { host_id: 2 },
            Command::AdmitHost(AdmitHost {
                token_id: "abc123".into(),
                host_name: "cp2".into(),
                address: "10.77.0.12".parse().unwrap(),
                key_pin: "00".into(),
            }),
            Command::AddToken(AddToken {
                id: "abc123".into(),
                secret_hash: vec![1, 2],
                role: Role::Witness,
                host_name: None,
                expires_at_ms: 5,
                uses: 1,
            }),
            Command::SetEtcdStage(SetEtcdStage {
                host_name: "cp2".into(),
                stage: EtcdStage::Learner,
                member_id: 7,
                initial_cluster: "a=b".into(),
                started: true,
            }),
            Command::CreateCluster(CreateCluster {
                id: "00".into(),
                name: "prod".into(),
                spec_yaml: "a: b".into(),
                host_name: "cp1".into(),
                address: "10.77.0.11".parse().unwrap(),
                key_pin: "00".into(),
                authorities: vec![SealedAuthority {
                    name: "etcd".into(),
                    certificate_pem: "pem".into(),
                    sealed_key: vec![1],
                }],
                secrets: vec![SealedSecret {
                    name: "lease-key".into(),
                    sealed: vec![2],
                    public_pem: String::new(),
                }],
            }),
        ];
        for command in commands {
            let entry = Entry {
                actor: "root@cp1".into(),
                at_ms: 12,
                command,
            };
            assert_eq!(decode(&encode(&entry)).unwrap(), entry);
        }
    }

    #[test]
    fn an_entry_of_a_newer_version_is_refused_with_both_versions() {
        let bytes = v1::Entry {
            version: ENTRY_VERSION + 1,
            ..Default::default()
        }
        .encode_to_vec();
        let error = decode(&bytes).unwrap_err();
        assert_eq!(error, EntryError::Version { found: 2 });
        assert!(error.to_string().contains("version 2"));
    }

    #[test]
    fn an_entry_without_a_known_command_is_refused() {
        let bytes = v1::Entry {
            version: 1,
            ..Default::default()
        }
        .encode_to_vec();
        assert_eq!(decode(&bytes).unwrap_err(), EntryError::Unknown);
    }

    #[test]
    fn garbage_is_refused() {
        assert!(matches!(
            decode(&[0xff, 0xff, 0xff]),
            Err(EntryError::Malformed(_))
        ));
    }
}
