use super::*;
use crate::command::{
    AddToken, AdmitHost, Command, CreateCluster, Entry, OperationKind, SetEtcdStage, StepState,
};

fn entry(at_ms: i64, command: Command) -> Entry {
    Entry {
        actor: "root@cp1".into(),
        at_ms,
        command,
    }
}

fn cluster() -> ClusterState {
    let mut state = ClusterState::default();
    state
        .apply(&entry(
            0,
            Command::CreateCluster(CreateCluster {
                id: "00".into(),
                name: "prod".into(),
                spec_yaml: "spec".into(),
                host_name: "cp1".into(),
                address: "10.77.0.11".parse().unwrap(),
                key_pin: "pin1".into(),
                authorities: Vec::new(),
                secrets: Vec::new(),
            }),
        ))
        .unwrap();
    state
}

fn token(id: &str, uses: u32, host_name: Option<&str>) -> Command {
    Command::AddToken(AddToken {
        id: id.into(),
        secret_hash: vec![1],
        role: Role::ControlPlane,
        host_name: host_name.map(str::to_owned),
        expires_at_ms: 1_000,
        uses,
    })
}

fn admit(token_id: &str, number: u8, key_pin: &str) -> Command {
    Command::AdmitHost(AdmitHost {
        token_id: token_id.into(),
        host_name: format!("cp{number}"),
        address: format!("10.77.0.1{number}").parse().unwrap(),
        key_pin: key_pin.into(),
    })
}

/// `cp1`, … with ids from 1 on; the lease has the first alone.
fn cluster_of(hosts: u8) -> ClusterState {
    let mut state = cluster();
    state.apply(&entry(0, token("joins0", 16, None))).unwrap();
    for number in 2..=hosts {
        let pin = format!("pin{number}");
        state
            .apply(&entry(0, admit("joins0", number, &pin)))
            .unwrap();
    }
    state
}

fn remove(number: u8) -> Command {
    Command::StartRemoval {
        host_name: format!("cp{number}"),
        forced: false,
        leaves: false,
    }
}

fn refused(state: &mut ClusterState, at_ms: i64, command: Command) -> &'static str {
    let before = state.clone();
    let refused = state.apply(&entry(at_ms, command)).unwrap_err();
    let audit = std::mem::take(&mut state.audit);
    let mut unchanged = before;
    unchanged.audit.clear();
    assert_eq!(*state, unchanged, "a refusal changes nothing but the audit");
    state.audit = audit;
    assert!(!refused.wrong.is_empty() && !refused.advice.is_empty());
    refused.code
}

#[test]
fn a_token_admits_as_many_hosts_as_it_may_and_no_more() {
    let mut state = cluster();
    state.apply(&entry(1, token("aaaaaa", 1, None))).unwrap();
    assert_eq!(state.apply(&entry(2, admit("aaaaaa", 2, "pin2"))), Ok(2));
    assert_eq!(
        refused(&mut state, 3, admit("aaaaaa", 3, "pin3")),
        "KHA2013"
    );
}

#[test]
fn the_same_token_with_the_same_key_is_a_resumption_also_after_its_end() {
    let mut state = cluster();
    state.apply(&entry(1, token("aaaaaa", 1, None))).unwrap();
    let first = state.apply(&entry(2, admit("aaaaaa", 2, "pin2")));
    let again = state.apply(&entry(5_000, admit("aaaaaa", 2, "pin2")));
    assert_eq!(first, again);
    assert_eq!(state.tokens["aaaaaa"].uses_left, 0);
    // Another key under the same name is somebody else.
    assert_eq!(
        refused(&mut state, 6, admit("aaaaaa", 2, "other")),
        "KHA2014"
    );
}

#[test]
fn expired_revoked_foreign_and_unknown_tokens_are_refused_each_with_its_code() {
    let mut state = cluster();
    state.apply(&entry(1, token("aaaaaa", 5, None))).unwrap();
    state
        .apply(&entry(1, token("bbbbbb", 5, Some("cp9"))))
        .unwrap();
    assert_eq!(
        refused(&mut state, 1_000, admit("aaaaaa", 2, "p")),
        "KHA2011"
    );
    assert_eq!(refused(&mut state, 2, admit("bbbbbb", 2, "p")), "KHA2019");
    assert_eq!(refused(&mut state, 2, admit("cccccc", 2, "p")), "KHA2010");
    let revoke = Command::DropToken {
        id: "aaaaaa".into(),
    };
    state.apply(&entry(3, revoke)).unwrap();
    assert_eq!(refused(&mut state, 4, admit("aaaaaa", 2, "p")), "KHA2012");
}

#[test]
fn an_address_belongs_to_one_host() {
    let mut state = cluster();
    state.apply(&entry(1, token("aaaaaa", 5, None))).unwrap();
    let mut same = admit("aaaaaa", 2, "p");
    if let Command::AdmitHost(admit) = &mut same {
        admit.address = "10.77.0.11".parse().unwrap();
    }
    assert_eq!(refused(&mut state, 2, same), "KHA2015");
}

#[test]
fn a_second_cluster_is_refused() {
    let mut state = cluster();
    let again = Command::CreateCluster(CreateCluster {
        id: "01".into(),
        name: "other".into(),
        spec_yaml: String::new(),
        host_name: "cp1".into(),
        address: "10.77.0.11".parse().unwrap(),
        key_pin: String::new(),
        authorities: Vec::new(),
        secrets: Vec::new(),
    });
    assert_eq!(refused(&mut state, 1, again), "KHA2002");
}

#[test]
fn the_first_host_has_an_etcd_member_if_the_cluster_has_an_authority_for_it() {
    let founded = |authority: &str| {
        let mut state = ClusterState::default();
        state
            .apply(&entry(
                0,
                Command::CreateCluster(CreateCluster {
                    id: "00".into(),
                    name: "prod".into(),
                    spec_yaml: "spec".into(),
                    host_name: "cp1".into(),
                    address: "10.77.0.11".parse().unwrap(),
                    key_pin: "pin1".into(),
                    authorities: vec![SealedAuthority {
                        name: authority.into(),
                        certificate_pem: String::new(),
                        sealed_key: Vec::new(),
                    }],
                    secrets: Vec::new(),
                }),
            ))
            .unwrap();
        state
    };
    let managed = founded("etcd");
    assert!(managed.runs_etcd());
    assert_eq!(managed.hosts["cp1"].etcd.stage, EtcdStage::Voter);
    let external = founded("khactl-ca");
    assert!(!external.runs_etcd());
    assert_eq!(external.hosts["cp1"].etcd.stage, EtcdStage::Absent);
    assert_eq!(external.lease.members, [1]);
}

#[test]
fn the_lease_changes_by_one_member_and_one_epoch() {
    let mut state = cluster_of(3);
    let set = |epoch, members: &[u64]| Command::SetLease {
        epoch,
        members: members.to_vec(),
    };
    assert_eq!(refused(&mut state, 1, set(3, &[1, 2])), "KHA2021");
    assert_eq!(refused(&mut state, 1, set(2, &[1, 2, 3])), "KHA2022");
    assert_eq!(refused(&mut state, 1, set(2, &[2])), "KHA2022");
    // No host has this id.
    assert_eq!(refused(&mut state, 1, set(2, &[1, 9])), "KHA2022");
    state.apply(&entry(1, set(2, &[1, 2]))).unwrap();
    // Another leader was quicker: the same epoch again is refused.
    assert_eq!(refused(&mut state, 1, set(2, &[1])), "KHA2021");
}

#[test]
fn a_late_report_of_a_host_does_not_take_its_etcd_vote_back() {
    let mut state = cluster();
    let report = |stage, started| {
        Command::SetEtcdStage(SetEtcdStage {
            host_name: "cp1".into(),
            stage,
            member_id: 0,
            initial_cluster: String::new(),
            started,
        })
    };
    state
        .apply(&entry(1, report(EtcdStage::Voter, false)))
        .unwrap();
    state
        .apply(&entry(2, report(EtcdStage::Learner, true)))
        .unwrap();
    assert_eq!(state.hosts["cp1"].etcd.stage, EtcdStage::Voter);
    assert!(state.hosts["cp1"].etcd.started);
}

#[test]
fn the_journal_keeps_what_is_finished_through_a_second_run() {
    let mut state = cluster();
    let begin = Command::StartOperation {
        kind: OperationKind::Init,
        host_name: "cp1".into(),
    };
    let id = state.apply(&entry(1, begin)).unwrap();
    let step = |name: &str, step_state| Command::RecordStep {
        operation: id,
        step: name.into(),
        state: step_state,
        text: String::new(),
    };
    state
        .apply(&entry(2, step("etcd", StepState::Started)))
        .unwrap();
    assert!(!state.operations[&id].finished("etcd"));
    state
        .apply(&entry(3, step("etcd", StepState::Finished)))
        .unwrap();
    assert!(state.operations[&id].finished("etcd"));
    assert_eq!(state.operations[&id].state, OperationState::Running);
    state
        .apply(&entry(4, step("done", StepState::Done)))
        .unwrap();
    assert_eq!(state.operations[&id].state, OperationState::Done);
}

#[test]
fn tokens_and_audit_are_bounded() {
    let mut state = cluster();
    for number in 0..TOKENS_MAX {
        state
            .apply(&entry(1, token(&format!("t{number:05}"), 1, None)))
            .unwrap();
    }
    assert_eq!(refused(&mut state, 1, token("more00", 1, None)), "KHA2017");
    // Expired ones make room.
    let late = Command::AddToken(AddToken {
        id: "late00".into(),
        secret_hash: vec![1],
        role: Role::Witness,
        host_name: None,
        expires_at_ms: 9_000,
        uses: 1,
    });
    state.apply(&entry(2_000, late)).unwrap();
    assert_eq!(state.tokens.len(), 1);
    for _ in 0..AUDIT_MAX {
        state
            .apply(&entry(2_000, token("late00", 1, None)))
            .unwrap_err();
    }
    assert_eq!(state.audit.len(), AUDIT_MAX);
    assert_eq!(state.audit.back().unwrap().outcome, "KHA2018");
}

#[test]
fn a_removal_is_one_operation_however_often_it_is_asked_for() {
    let mut state = cluster_of(3);
    let id = state.apply(&entry(5, remove(3))).unwrap();
    assert_eq!(state.apply(&entry(6, remove(3))), Ok(id));
    assert_eq!(state.operations.len(), 1);
    assert_eq!(state.operations[&id].kind, OperationKind::Remove);
    assert_eq!(state.staying().count(), 2);
    assert_eq!(refused(&mut state, 7, remove(9)), "KHA2020");
}

#[test]
fn the_last_host_that_stays_is_not_removed() {
    let mut state = cluster_of(2);
    state.apply(&entry(5, remove(1))).unwrap();
    assert_eq!(refused(&mut state, 6, remove(2)), "KHA2080");
}

#[test]
fn a_removed_host_is_remembered_by_its_key_and_its_id_is_not_used_again() {
    let mut state = cluster_of(3);
    let finish = Command::FinishRemoval { host_id: 3 };
    assert_eq!(refused(&mut state, 4, finish.clone()), "KHA2081");
    let id = state.apply(&entry(5, remove(3))).unwrap();
    assert_eq!(state.apply(&entry(6, finish.clone())), Ok(3));
    assert_eq!(state.operations[&id].state, OperationState::Done);
    // The same again, by a leader that got no answer.
    assert_eq!(state.apply(&entry(7, finish)), Ok(3));
    assert!(!state.hosts.contains_key("cp3"));
    assert_eq!(state.removed_by_key("pin3").unwrap().name, "cp3");
    assert_eq!(state.removed_by_key("pin2"), None);
    // A step's record that comes late opens nothing again.
    let late = Command::RecordStep {
        operation: id,
        step: "record".into(),
        state: StepState::Finished,
        text: String::new(),
    };
    state.apply(&entry(8, late)).unwrap();
    assert_eq!(state.operations[&id].state, OperationState::Done);
    // The name and the key may come back, by a new token and with a new id.
    assert_eq!(state.apply(&entry(9, admit("joins0", 3, "pin3"))), Ok(4));
    assert_eq!(state.removed_by_key("pin3"), None);
}

#[test]
fn a_host_that_is_leaving_only_goes_back_and_keeps_its_record_while_it_is_in_the_lease() {
    let mut state = cluster_of(2);
    let lease = |epoch, members: &[u64]| Command::SetLease {
        epoch,
        members: members.to_vec(),
    };
    state.apply(&entry(4, lease(2, &[1, 2]))).unwrap();
    state.apply(&entry(5, remove(2))).unwrap();
    assert_eq!(
        refused(&mut state, 6, Command::FinishRemoval { host_id: 2 }),
        "KHA2081"
    );
    state.apply(&entry(7, lease(3, &[1]))).unwrap();
    assert_eq!(refused(&mut state, 8, lease(4, &[1, 2])), "KHA2022");
    assert_eq!(
        refused(&mut state, 8, admit("joins0", 2, "pin2")),
        "KHA2082"
    );
    let recorded = |stage| {
        Command::SetEtcdStage(SetEtcdStage {
            host_name: "cp2".into(),
            stage,
            member_id: 0,
            initial_cluster: String::new(),
            started: false,
        })
    };
    state.hosts.get_mut("cp2").unwrap().etcd.stage = EtcdStage::Voter;
    state.apply(&entry(9, recorded(EtcdStage::Absent))).unwrap();
    // The host's own report, from before.
    state.apply(&entry(9, recorded(EtcdStage::Voter))).unwrap();
    assert_eq!(state.hosts["cp2"].etcd.stage, EtcdStage::Absent);
}

#[test]
fn of_two_changes_of_the_spec_at_once_the_second_is_refused_and_old_revisions_go() {
    let mut state = cluster();
    let change = |based_on: u64, yaml: &str| Command::SetSpec {
        based_on,
        yaml: yaml.into(),
    };
    assert_eq!(state.apply(&entry(1, change(1, "first"))), Ok(2));
    assert_eq!(refused(&mut state, 1, change(1, "second")), "KHA2302");
    assert_eq!(state.spec_yaml(), Some("first"));
    for revision in 2..100 {
        let made = state.apply(&entry(2, change(revision, "next")));
        assert_eq!(made, Ok(revision + 1));
    }
    let kept: Vec<u64> = state.specs.iter().map(|spec| spec.revision).collect();
    assert_eq!(kept, (51..=100).collect::<Vec<_>>());
    let last = state.audit.back().unwrap();
    assert_eq!(
        (last.actor.as_str(), last.outcome.as_str()),
        ("root@cp1", "ok")
    );
}

#[test]
fn a_removal_is_journaled_by_what_it_does_and_aborted_only_before_its_point_of_no_return() {
    let mut state = cluster_of(3);
    let lease = |epoch, members: &[u64]| Command::SetLease {
        epoch,
        members: members.to_vec(),
    };
    state.apply(&entry(1, lease(2, &[1, 2]))).unwrap();
    state.apply(&entry(1, lease(3, &[1, 2, 3]))).unwrap();
    let begins = || Command::StartRemoval {
        host_name: "cp3".into(),
        forced: false,
        leaves: true,
    };
    let abort = |operation| Command::AbortRemoval { operation };
    let steps = |state: &ClusterState, id: u64| -> Vec<String> {
        let steps = &state.operations[&id].steps;
        steps.iter().map(|step| step.name.clone()).collect()
    };
    let id = state.apply(&entry(5, begins())).unwrap();
    assert_eq!(state.operations[&id].kind, OperationKind::Leave);
    state.apply(&entry(6, lease(4, &[1, 2]))).unwrap();
    assert_eq!(state.apply(&entry(7, abort(id))), Ok(id));
    assert_eq!(state.apply(&entry(8, abort(id))), Ok(id), "asked again");
    assert_eq!(steps(&state, id), ["check", "lease", "aborted"]);
    assert_eq!(state.operations[&id].state, OperationState::Failed);
    assert_eq!(state.staying().count(), 3);

    let second = state.apply(&entry(9, begins())).unwrap();
    assert_ne!(second, id);
    let past = Command::RecordStep {
        operation: second,
        step: crate::state::IRREVOCABLE.into(),
        state: StepState::Finished,
        text: String::new(),
    };
    // A leader that had not heard of the abort yet takes nothing back.
    let late = Command::RecordStep {
        operation: id,
        step: crate::state::IRREVOCABLE.into(),
        state: StepState::Finished,
        text: String::new(),
    };
    state.apply(&entry(10, late)).unwrap();
    assert_eq!(state.operations[&id].state, OperationState::Failed);
    state.apply(&entry(11, past)).unwrap();
    assert_eq!(refused(&mut state, 12, abort(second)), "KHA2089");
    let absent = Command::SetEtcdStage(SetEtcdStage {
        host_name: "cp3".into(),
        stage: EtcdStage::Absent,
        member_id: 0,
        initial_cluster: String::new(),
        started: false,
    });
    state.apply(&entry(13, absent)).unwrap();
    state
        .apply(&entry(14, Command::FinishRemoval { host_id: 3 }))
        .unwrap();
    assert_eq!(
        steps(&state, second),
        ["check", "irrevocable", "etcd", "consensus", "done"]
    );
    assert_eq!(refused(&mut state, 15, abort(second)), "KHA2088");
    assert_eq!(refused(&mut state, 16, abort(99)), "KHA2001");
    let init = Command::StartOperation {
        kind: OperationKind::Init,
        host_name: "cp1".into(),
    };
    let init = state.apply(&entry(17, init)).unwrap();
    assert_eq!(refused(&mut state, 18, abort(init)), "KHA2087");
}
