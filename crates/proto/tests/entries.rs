//! Log entries that nobody wrote: arbitrary bytes, and real ones that something damaged. They come from
//! other hosts and from disks, so nothing in them may do harm.

use std::net::IpAddr;

use khactl_model::command::{
    AddToken, AdmitHost, Command, CreateCluster, Entry, OperationKind, SealedAuthority,
    SealedSecret, SetEtcdStage, StepState,
};
use khactl_model::state::{ClusterState, EtcdStage, Refused, Role};
use khactl_proto::entry::{self, decode, encode};
use proptest::prelude::*;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..40)
}

/// Few names, so that entries of one log are about the same hosts and tokens.
fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(vec!["cp1", "cp2", "cp3"]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 0..6_u64, 1 => any::<u64>()]
}

fn text() -> impl Strategy<Value = String> {
    any::<String>()
}

fn flag() -> impl Strategy<Value = bool> {
    any::<bool>()
}

/// Close to each other, so that tokens are valid; or anywhere.
fn times() -> impl Strategy<Value = i64> {
    prop_oneof![3 => 0..1_000_i64, 1 => any::<i64>()]
}

fn create_cluster() -> impl Strategy<Value = Command> {
    let authority =
        (any::<[String; 2]>(), bytes()).prop_map(|([name, certificate_pem], sealed_key)| {
            SealedAuthority {
                name,
                certificate_pem,
                sealed_key,
            }
        });
    let secret =
        (any::<[String; 2]>(), bytes()).prop_map(|([name, public_pem], sealed)| SealedSecret {
            name,
            sealed,
            public_pem,
        });
    let authorities = prop::collection::vec(authority, 0..3);
    let secrets = prop::collection::vec(secret, 0..3);
    (
        any::<[String; 4]>(),
        names(),
        any::<IpAddr>(),
        authorities,
        secrets,
    )
        .prop_map(
            |([id, name, spec_yaml, key_pin], host_name, address, authorities, secrets)| {
                Command::CreateCluster(CreateCluster {
                    id,
                    name,
                    spec_yaml,
                    host_name,
                    address,
                    key_pin,
                    authorities,
                    secrets,
                })
            },
        )
}

fn admission() -> impl Strategy<Value = Command> {
    let roles = prop::sample::select(vec![Role::ControlPlane, Role::Witness]);
    // An empty name is no name.
    let host = names().prop_map(|name| Some(name).filter(|name| !name.is_empty()));
    prop_oneof![
        (names(), bytes(), roles, host, times(), any::<u32>()).prop_map(
            |(id, secret_hash, role, host_name, expires_at_ms, uses)| Command::AddToken(AddToken {
                id,
                secret_hash,
                role,
                host_name,
                expires_at_ms,
                uses,
            })
        ),
        (names(), names(), any::<IpAddr>(), text()).prop_map(
            |(token_id, host_name, address, key_pin)| {
                Command::AdmitHost(AdmitHost {
                    token_id,
                    host_name,
                    address,
                    key_pin,
                })
            }
        ),
        names().prop_map(|id| Command::DropToken { id }),
    ]
}

fn membership() -> impl Strategy<Value = Command> {
    let stages = prop::sample::select(vec![
        EtcdStage::Absent,
        EtcdStage::Learner,
        EtcdStage::Voter,
    ]);
    prop_oneof![
        (names(), stages, numbers(), text(), flag()).prop_map(
            |(host_name, stage, member_id, initial_cluster, started)| {
                Command::SetEtcdStage(SetEtcdStage {
                    host_name,
                    stage,
                    member_id,
                    initial_cluster,
                    started,
                })
            }
        ),
        (numbers(), prop::collection::vec(numbers(), 0..12))
            .prop_map(|(epoch, members)| Command::SetLease { epoch, members }),
        (names(), flag(), flag()).prop_map(|(host_name, forced, leaves)| Command::StartRemoval {
            host_name,
            forced,
            leaves,
        }),
        numbers().prop_map(|operation| Command::AbortRemoval { operation }),
        numbers().prop_map(|host_id| Command::FinishRemoval { host_id }),
        (numbers(), numbers())
            .prop_map(|(host_id, revision)| Command::DrainHost { host_id, revision }),
    ]
}

fn journal() -> impl Strategy<Value = Command> {
    let kinds = prop::sample::select(vec![
        OperationKind::Init,
        OperationKind::Join,
        OperationKind::Remove,
        OperationKind::Leave,
    ]);
    let states = prop::sample::select(vec![
        StepState::Started,
        StepState::Finished,
        StepState::Done,
        StepState::Failed,
    ]);
    prop_oneof![
        (kinds, names()).prop_map(|(kind, host_name)| Command::StartOperation { kind, host_name }),
        (numbers(), text(), states, text()).prop_map(|(operation, step, state, text)| {
            Command::RecordStep {
                operation,
                step,
                state,
                text,
            }
        }),
        (numbers(), text()).prop_map(|(based_on, yaml)| Command::SetSpec { based_on, yaml }),
    ]
}

fn entries() -> impl Strategy<Value = Entry> {
    let commands = prop_oneof![create_cluster(), admission(), membership(), journal()];
    (names(), times(), commands).prop_map(|(actor, at_ms, command)| Entry {
        actor,
        at_ms,
        command,
    })
}

/// What a bad disk or network makes of bytes.
#[derive(Debug, Clone)]
enum Damage {
    Flip(usize, u8),
    Cut(usize),
    Insert(usize, Vec<u8>),
    Repeat(usize, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<usize>(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        any::<usize>().prop_map(Damage::Cut),
        (any::<usize>(), bytes()).prop_map(|(at, more)| Damage::Insert(at, more)),
        any::<(usize, usize)>().prop_map(|(from, to)| Damage::Repeat(from, to)),
    ]
}

fn damaged(mut bytes: Vec<u8>, damage: &Damage) -> Vec<u8> {
    let places = bytes.len() + 1;
    let place = |at: &usize| at % places;
    match damage {
        Damage::Flip(at, bit) => {
            let at = place(at);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        Damage::Cut(at) => bytes.truncate(place(at)),
        Damage::Insert(at, more) => {
            let at = place(at);
            bytes.splice(at..at, more.iter().copied());
        }
        Damage::Repeat(from, to) => {
            let (from, to) = (place(from), place(to));
            let part = bytes[from.min(to)..from.max(to)].to_vec();
            bytes.splice(from..from, part);
        }
    }
    bytes
}

/// What is accepted means the same when it is written and read again.
fn is_refused_or_kept(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(entry) = decode(bytes) {
        prop_assert_eq!(decode(&encode(&entry)), Ok(entry));
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_entry_survives_the_log(entry in entries()) {
        prop_assert_eq!(decode(&encode(&entry)), Ok(entry));
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_mean_an_entry(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        is_refused_or_kept(&bytes)?;
    }

    #[test]
    fn a_damaged_entry_is_refused_or_means_an_entry(
        entry in entries(),
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        let bytes = damages.iter().fold(encode(&entry), damaged);
        is_refused_or_kept(&bytes)?;
    }

    #[test]
    fn no_log_of_entries_makes_the_state_panic(
        first in create_cluster(),
        log in prop::collection::vec(entries(), 0..40),
    ) {
        let mut state = ClusterState::default();
        let first = Entry { actor: "root@cp1".to_owned(), at_ms: 0, command: first };
        prop_assert_eq!(state.apply(&first), Ok(1));
        for entry in &log {
            // Refused or not: every host has to be able to go on.
            let _ = state.apply(entry);
        }
        prop_assert!(state.audit.len() <= 1 + log.len());
    }

    #[test]
    fn arbitrary_bytes_are_no_answer_or_one_that_can_be_told(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(answer) = entry::decode_answer(&bytes) {
            let told = format!("{answer:?}");
            prop_assert!(!told.is_empty());
        }
    }

    #[test]
    fn an_answer_survives_its_way(number: u64, wrong: String, advice: String, accepted: bool) {
        let refused = Refused { code: "KHA2003", wrong, advice };
        let outcome = if accepted { Ok(number) } else { Err(refused) };
        let read = entry::decode_answer(&entry::encode_answer(&outcome)).unwrap();
        let read = read.map_err(|rejected| (rejected.code, rejected.wrong, rejected.advice));
        let sent = outcome.map_err(|refused| (refused.code.to_owned(), refused.wrong, refused.advice));
        prop_assert_eq!(read, sent);
    }
}
