//! For every control the scenario that shows it soonest, and a seed from which it takes but a few.

use super::control::Control;
use super::scenario::{Fault, Scenario};
use crate::rules::Rule;

/// What is left out, where it shows, and from which seed on to look.
pub(super) type Bias = (Scenario, u64);

/// Every negative control.
pub(super) const ALL: [Control; 26] = [
    Control::NoGate,
    Control::RelativeGate,
    Control::Without(Rule::Fence),
    Control::Without(Rule::LockCheck),
    Control::Without(Rule::ExpiryNeverShrinks),
    Control::Without(Rule::ExactRelease),
    Control::RecordAfterAnswer,
    Control::Without(Rule::Silence),
    Control::Without(Rule::SilenceInRecord),
    Control::Without(Rule::SilenceFromTheLongest),
    Control::Without(Rule::Ready),
    Control::Without(Rule::FenceWhenReady),
    Control::Without(Rule::SilenceAfterJump),
    Control::Without(Rule::SeqEcho),
    Control::Without(Rule::DeadlineFromSending),
    Control::Without(Rule::ConfigurationAtSending),
    Control::ReleaseBeforeClose,
    Control::AnswerWhileOpen,
    Control::Without(Rule::NewBallot),
    Control::SleepBetweenProcesses,
    Control::UnprovenDeath,
    Control::ReleaseWithoutClose,
    Control::SeveralVoters,
    Control::ChangeAtOnce,
    Control::ChangeWithoutSilence,
    Control::None,
];

/// The bias of a control; of none, everything at once.
pub(super) fn bias(control: Control) -> Bias {
    let everything = Scenario::everything(control);
    match control {
        Control::None | Control::NoGate | Control::ReleaseWithoutClose => (everything, 0),
        Control::RelativeGate => {
            let faults = &[(Fault::Stall, 1), (Fault::CutOff, 1), (Fault::Heal, 2)];
            let scenario = Scenario {
                stall_ppm: 10_000,
                ..only(control, faults)
            };
            (scenario, 0)
        }
        Control::SleepBetweenProcesses => {
            let faults = &[
                (Fault::Suspend, 3),
                (Fault::Kill, 3),
                (Fault::CutLink, 3),
                (Fault::Heal, 1),
            ];
            (only(control, faults), 46_000)
        }
        Control::RecordAfterAnswer => {
            let faults = &[
                (Fault::Kill, 1),
                (Fault::CutLink, 3),
                (Fault::CutOff, 1),
                (Fault::Heal, 2),
            ];
            let scenario = Scenario {
                members: &[3],
                kill_ppm: 8_000,
                prompt: true,
                ..only(control, faults)
            };
            (scenario, 0)
        }
        Control::ReleaseBeforeClose => {
            let faults = &[(Fault::HandOver, 4), (Fault::Heal, 1)];
            let scenario = Scenario {
                stall_ppm: 10_000,
                ..only(control, faults)
            };
            (scenario, 0)
        }
        Control::AnswerWhileOpen => {
            let faults = &[
                (Fault::HandOver, 4),
                (Fault::CutLink, 3),
                (Fault::Loss, 2),
                (Fault::Heal, 2),
            ];
            let scenario = Scenario {
                stuck_ppm: 300_000,
                ..only(control, faults)
            };
            (scenario, 0)
        }
        Control::UnprovenDeath => {
            let faults = &[
                (Fault::FalseDeath, 4),
                (Fault::Stall, 4),
                (Fault::Late, 2),
                (Fault::CutLink, 3),
                (Fault::Heal, 4),
            ];
            (only(control, faults), 0)
        }
        Control::SeveralVoters | Control::ChangeAtOnce | Control::ChangeWithoutSilence => {
            (changes(control), 0)
        }
        Control::Without(rule) => of_rule(control, rule),
    }
}

fn of_rule(control: Control, rule: Rule) -> Bias {
    let everything = Scenario::everything(control);
    match rule {
        Rule::LockCheck | Rule::Silence | Rule::DeadBallot | Rule::ReleaseOfTheLost => {
            (everything, 0)
        }
        Rule::Fence => (changes(control), 0),
        Rule::ExpiryNeverShrinks => {
            let faults = &[(Fault::Profile, 3), (Fault::CutLink, 3), (Fault::Heal, 2)];
            (only(control, faults), 0)
        }
        Rule::ExactRelease => {
            let faults = &[
                (Fault::HandOver, 4),
                (Fault::CutLink, 3),
                (Fault::Stall, 3),
                (Fault::Heal, 3),
                (Fault::Late, 2),
                (Fault::Replay, 6),
            ];
            (only(control, faults), 1_000_000)
        }
        Rule::SilenceInRecord => {
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
                ..only(control, faults)
            };
            (scenario, 0)
        }
        Rule::SilenceFromTheLongest => {
            let faults = &[
                (Fault::Profile, 2),
                (Fault::Reboot, 3),
                (Fault::CutLink, 3),
                (Fault::Heal, 1),
            ];
            let scenario = Scenario {
                prompt: true,
                ..only(control, faults)
            };
            (scenario, 0)
        }
        Rule::Ready => (forgetful(control), 1_000_000),
        Rule::FenceWhenReady => {
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
                ..forgetful(control)
            };
            (scenario, 100_500)
        }
        Rule::SilenceAfterJump => {
            let faults = &[(Fault::Suspend, 3), (Fault::CutLink, 3), (Fault::Heal, 1)];
            (only(control, faults), 500_000)
        }
        Rule::SeqEcho | Rule::DeadlineFromSending => {
            let faults = &[
                (Fault::Late, 2),
                (Fault::CutLink, 3),
                (Fault::Heal, 2),
                (Fault::Stall, 1),
            ];
            (only(control, faults), 0)
        }
        Rule::ConfigurationAtSending => {
            let scenario = Scenario {
                members: &[4],
                spare: 0,
                leases_ms: &[2_000],
                faults: &[(Fault::CutLink, 6), (Fault::Heal, 1), (Fault::Late, 1)],
                swarm: false,
                gap_percent: 30,
                ..changes(control)
            };
            (scenario, 1_000_000)
        }
        Rule::NewBallot => {
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
                ..only(control, faults)
            };
            (scenario, 0)
        }
    }
}

/// These faults, and nobody joins or leaves.
fn only(control: Control, faults: &'static [(Fault, u64)]) -> Scenario {
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

/// Hosts that missed changes, and hosts that forgot them.
fn forgetful(control: Control) -> Scenario {
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
