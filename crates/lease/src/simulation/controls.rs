//! A simulation that cannot see a missing rule proves nothing about the rules: every rule is left out once, and two
//! holders must show. The same seed with every rule in force must show nothing, or it was not the rule that was missed.

use super::biases::{ALL, bias};
use super::control::Control;
use super::runner::{number, replay, run};
use super::scenario::Scenario;
use super::verdict::Violation;
use crate::rules::Rule;

/// How many seeds a control may take; the rarest needs some thousands.
const SEARCH: u64 = 50_000;

/// How many seeds of every bias the whole rules are run under, from the one on that its control begins at.
const SEEDS_OF_EACH: u64 = 1_000;

/// The search begins at a seed that is known to show it, and goes on from there should the run have changed.
fn must_be_noticed(control: Control) {
    let (scenario, known) = bias(control);
    let outcome = run(&scenario, known, SEARCH, |violation| {
        matches!(violation, Violation::TwoHolders { .. })
    });
    println!("{control:?}: {outcome:?}");
    let Some((seed, _)) = outcome.found else {
        panic!("{control:?} goes unnoticed");
    };
    let (_, result) = replay(&whole(scenario), seed);
    assert_eq!(result, Ok(()), "seed {seed}, and no rule is missing");
}

/// The same with every rule in force.
fn whole(scenario: Scenario) -> Scenario {
    Scenario {
        control: Control::None,
        ..scenario
    }
}

#[test]
fn where_a_missing_rule_shows_nothing_shows_when_none_is_missing() {
    let count = number("KHACTL_SIM_SEEDS").map_or(SEEDS_OF_EACH, |seeds| seeds / 100);
    for control in ALL {
        let (scenario, known) = bias(control);
        let outcome = run(&whole(scenario), known, count, |_| true);
        assert_eq!(outcome.found, None, "under the bias of {control:?}");
    }
}

#[test]
fn g1_without_the_gate_a_stalled_holder_goes_on_answering() {
    must_be_noticed(Control::NoGate);
}

#[test]
fn g2_with_a_relative_gate_a_stall_opens_it_late() {
    must_be_noticed(Control::RelativeGate);
}

#[test]
fn a2_without_the_fence_two_hold() {
    must_be_noticed(Control::Without(Rule::Fence));
}

#[test]
fn a3_without_the_lock_check_two_hold() {
    must_be_noticed(Control::Without(Rule::LockCheck));
}

#[test]
fn a5_with_expiries_that_shrink_two_hold() {
    must_be_noticed(Control::Without(Rule::ExpiryNeverShrinks));
}

#[test]
fn a6_without_the_exact_ballot_in_a_release_two_hold() {
    must_be_noticed(Control::Without(Rule::ExactRelease));
}

#[test]
fn a7_with_answers_before_the_record_two_hold() {
    must_be_noticed(Control::RecordAfterAnswer);
}

#[test]
fn a8_without_silence_after_a_reboot_two_hold() {
    must_be_noticed(Control::Without(Rule::Silence));
}

#[test]
fn a8_without_the_silence_in_the_record_two_hold() {
    must_be_noticed(Control::Without(Rule::SilenceInRecord));
}

#[test]
fn a8_with_the_silence_of_the_present_lease_only_two_hold() {
    must_be_noticed(Control::Without(Rule::SilenceFromTheLongest));
}

#[test]
fn a8_with_acceptors_that_are_always_ready_two_hold() {
    must_be_noticed(Control::Without(Rule::Ready));
}

#[test]
fn a8_with_a_grace_before_the_fence_of_a_ready_acceptor_two_hold() {
    must_be_noticed(Control::Without(Rule::FenceWhenReady));
}

#[test]
fn a8_without_silence_after_a_clock_jump_two_hold() {
    must_be_noticed(Control::Without(Rule::SilenceAfterJump));
}

#[test]
fn p7_with_a_sleep_between_two_processes_unnoticed_two_hold() {
    must_be_noticed(Control::SleepBetweenProcesses);
}

#[test]
fn p5_without_the_seq_echo_two_hold() {
    must_be_noticed(Control::Without(Rule::SeqEcho));
}

#[test]
fn p5_with_the_deadline_from_the_answer_two_hold() {
    must_be_noticed(Control::Without(Rule::DeadlineFromSending));
}

#[test]
fn p5_with_the_majority_of_a_later_configuration_two_hold() {
    must_be_noticed(Control::Without(Rule::ConfigurationAtSending));
}

#[test]
fn p9_with_the_release_before_the_closing_two_hold() {
    must_be_noticed(Control::ReleaseBeforeClose);
}

#[test]
fn p9_with_answers_while_the_gate_may_be_open_two_hold() {
    must_be_noticed(Control::AnswerWhileOpen);
}

#[test]
fn p10_with_a_ballot_adopted_from_a_dead_process_two_hold() {
    must_be_noticed(Control::Without(Rule::NewBallot));
}

#[test]
fn k1_without_proof_of_death_two_hold() {
    must_be_noticed(Control::UnprovenDeath);
}

#[test]
fn k2_with_a_release_for_the_dead_before_the_closing_two_hold() {
    must_be_noticed(Control::ReleaseWithoutClose);
}

#[test]
fn m1_with_several_voters_in_one_change_two_hold() {
    must_be_noticed(Control::SeveralVoters);
}

#[test]
fn m2_without_the_wait_between_changes_two_hold() {
    must_be_noticed(Control::ChangeAtOnce);
}

#[test]
fn m2_without_its_silence_and_with_reports_kept_two_hold() {
    must_be_noticed(Control::ChangeWithoutSilence);
}
