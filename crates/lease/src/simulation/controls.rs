//! A simulation that cannot see a missing rule proves nothing about the rules: every rule is left out once, and two
//! holders must show.

use super::control::Control;
use super::runner::run;
use super::scenario::{Fault, Scenario};
use super::verdict::Violation;
use crate::rules::Rule;

/// How many seeds a control may take; the rarest needs some thousands.
const SEARCH: u64 = 50_000;

/// Everything, with a bias.
fn bias(control: Control, faults: &'static [(Fault, u64)]) -> Scenario {
    Scenario {
        faults,
        swarm: false,
        membership_percent: 0,
        ..Scenario::everything(control)
    }
}

/// Fast changes of the members, and everything that goes with them.
fn changes(control: Control) -> Scenario {
    Scenario {
        members: &[2, 3, 3, 4],
        leases_ms: &[250, 2_000, 2_000],
        span_ms: (3_000, 6_000),
        formed_percent: 100,
        membership_percent: 100,
        prompt: true,
        ..Scenario::everything(control)
    }
}

/// The search begins at a seed that is known to show it, and goes on from there should the run have changed.
fn must_be_noticed(scenario: Scenario, known: u64) {
    let outcome = run(&scenario, known, SEARCH, |violation| {
        matches!(violation, Violation::TwoHolders { .. })
    });
    println!("{:?}: {:?}", scenario.control, outcome);
    assert!(
        outcome.found.is_some(),
        "{:?} goes unnoticed",
        scenario.control
    );
}

#[test]
fn g1_without_the_gate_a_stalled_holder_goes_on_answering() {
    must_be_noticed(Scenario::everything(Control::NoGate), 0);
}

#[test]
fn g2_with_a_relative_gate_a_stall_opens_it_late() {
    let faults = &[(Fault::Stall, 1), (Fault::CutOff, 1), (Fault::Heal, 2)];
    let scenario = Scenario {
        stall_ppm: 10_000,
        ..bias(Control::RelativeGate, faults)
    };
    must_be_noticed(scenario, 0);
}

#[test]
fn a2_without_the_fence_two_hold() {
    must_be_noticed(changes(Control::Without(Rule::Fence)), 0);
}

#[test]
fn a3_without_the_lock_check_two_hold() {
    must_be_noticed(Scenario::everything(Control::Without(Rule::LockCheck)), 0);
}

#[test]
fn a5_with_expiries_that_shrink_two_hold() {
    let faults = &[(Fault::Profile, 3), (Fault::CutLink, 3), (Fault::Heal, 2)];
    must_be_noticed(bias(Control::Without(Rule::ExpiryNeverShrinks), faults), 0);
}

#[test]
fn a6_without_the_exact_ballot_in_a_release_two_hold() {
    let faults = &[
        (Fault::HandOver, 4),
        (Fault::CutLink, 3),
        (Fault::Stall, 3),
        (Fault::Heal, 3),
        (Fault::Late, 2),
        (Fault::Replay, 6),
    ];
    must_be_noticed(
        bias(Control::Without(Rule::ExactRelease), faults),
        1_000_000,
    );
}

#[test]
fn a7_with_answers_before_the_record_two_hold() {
    let faults = &[
        (Fault::Kill, 1),
        (Fault::CutLink, 3),
        (Fault::Heal, 2),
        (Fault::CutOff, 1),
    ];
    let scenario = Scenario {
        members: &[3],
        kill_ppm: 8_000,
        prompt: true,
        ..bias(Control::RecordAfterAnswer, faults)
    };
    must_be_noticed(scenario, 0);
}

#[test]
fn a8_without_silence_after_a_reboot_two_hold() {
    must_be_noticed(Scenario::everything(Control::Without(Rule::Silence)), 0);
}

#[test]
fn a8_without_the_silence_in_the_record_two_hold() {
    let faults = &[
        (Fault::Reboot, 2),
        (Fault::Kill, 3),
        (Fault::CutLink, 3),
        (Fault::Heal, 1),
    ];
    let scenario = Scenario {
        members: &[3],
        leases_ms: &[2_000],
        prompt: true,
        ..bias(Control::Without(Rule::SilenceInRecord), faults)
    };
    must_be_noticed(scenario, 0);
}

#[test]
fn a8_with_the_silence_of_the_present_lease_only_two_hold() {
    let faults = &[
        (Fault::Profile, 2),
        (Fault::Reboot, 3),
        (Fault::CutLink, 3),
        (Fault::Heal, 1),
    ];
    let scenario = Scenario {
        prompt: true,
        ..bias(Control::Without(Rule::SilenceFromTheLongest), faults)
    };
    must_be_noticed(scenario, 0);
}

#[test]
fn a8_with_acceptors_that_are_always_ready_two_hold() {
    must_be_noticed(
        reboots_among_changes(Control::Without(Rule::Ready)),
        1_000_000,
    );
}

#[test]
fn a8_with_a_grace_before_the_fence_of_a_ready_acceptor_two_hold() {
    let scenario = Scenario {
        members: &[2, 3],
        leases_ms: &[250],
        span_ms: (8_000, 12_000),
        faults: &[
            (Fault::Reboot, 3),
            (Fault::Lag, 2),
            (Fault::CutLink, 4),
            (Fault::Heal, 1),
        ],
        gap_percent: 300,
        ..reboots_among_changes(Control::Without(Rule::FenceWhenReady))
    };
    must_be_noticed(scenario, 100_500);
}

/// Hosts that missed changes, and hosts that forgot them.
fn reboots_among_changes(control: Control) -> Scenario {
    Scenario {
        faults: &[
            (Fault::Reboot, 3),
            (Fault::Lag, 3),
            (Fault::CutLink, 4),
            (Fault::Heal, 1),
        ],
        swarm: false,
        gap_percent: 100,
        ..changes(control)
    }
}

#[test]
fn a8_without_silence_after_a_clock_jump_two_hold() {
    let faults = &[(Fault::Suspend, 3), (Fault::CutLink, 3), (Fault::Heal, 1)];
    must_be_noticed(
        bias(Control::Without(Rule::SilenceAfterJump), faults),
        500_000,
    );
}

#[test]
fn p5_without_the_seq_echo_two_hold() {
    must_be_noticed(late(Control::Without(Rule::SeqEcho)), 0);
}

#[test]
fn p5_with_the_deadline_from_the_answer_two_hold() {
    must_be_noticed(late(Control::Without(Rule::DeadlineFromSending)), 0);
}

fn late(control: Control) -> Scenario {
    let faults = &[
        (Fault::Late, 2),
        (Fault::CutLink, 3),
        (Fault::Heal, 2),
        (Fault::Stall, 1),
    ];
    bias(control, faults)
}

#[test]
fn p5_with_the_majority_of_a_later_configuration_two_hold() {
    let scenario = Scenario {
        members: &[4],
        spare: 0,
        leases_ms: &[2_000],
        faults: &[(Fault::CutLink, 6), (Fault::Heal, 1), (Fault::Late, 1)],
        swarm: false,
        gap_percent: 30,
        ..changes(Control::Without(Rule::ConfigurationAtSending))
    };
    must_be_noticed(scenario, 1_000_000);
}

#[test]
fn p9_with_the_release_before_the_closing_two_hold() {
    let faults = &[(Fault::HandOver, 4), (Fault::Heal, 1)];
    let scenario = Scenario {
        stall_ppm: 10_000,
        ..bias(Control::ReleaseBeforeClose, faults)
    };
    must_be_noticed(scenario, 0);
}

#[test]
fn p10_with_a_ballot_adopted_from_a_dead_process_two_hold() {
    let faults = &[
        (Fault::Kill, 4),
        (Fault::CutLink, 3),
        (Fault::Heal, 2),
        (Fault::Late, 1),
        (Fault::Replay, 4),
    ];
    let scenario = Scenario {
        members: &[3],
        kill_ppm: 3_000,
        gap_percent: 20,
        prompt: true,
        ..bias(Control::Without(Rule::NewBallot), faults)
    };
    must_be_noticed(scenario, 0);
}

#[test]
fn k1_without_proof_of_death_two_hold() {
    let faults = &[
        (Fault::FalseDeath, 4),
        (Fault::Stall, 4),
        (Fault::Late, 2),
        (Fault::CutLink, 3),
        (Fault::Heal, 4),
    ];
    must_be_noticed(bias(Control::UnprovenDeath, faults), 0);
}

#[test]
fn k2_with_a_release_for_the_dead_before_the_closing_two_hold() {
    must_be_noticed(Scenario::everything(Control::ReleaseWithoutClose), 0);
}

#[test]
fn m1_with_several_voters_in_one_change_two_hold() {
    must_be_noticed(changes(Control::SeveralVoters), 0);
}

#[test]
fn m2_without_the_wait_between_changes_two_hold() {
    must_be_noticed(changes(Control::ChangeAtOnce), 0);
}

#[test]
fn m2_without_its_silence_and_with_reports_kept_two_hold() {
    must_be_noticed(changes(Control::ChangeWithoutSilence), 0);
}
