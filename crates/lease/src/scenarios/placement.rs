//! Who gets the lease, and that it stays there: fitness, preference, id, hand-overs, and the ways out that free it.

use super::table::{T, Table, feed};
use crate::random::Random;
use crate::rules::{Rule, Rules};
use crate::timing::MS;
use crate::{Configuration, Effect, Input, Member, Message};

fn fit(fit: bool, handicap: u8) -> Input {
    Input::Fit { fit, handicap }
}

/// Who takes over from host 1, the others with these preferences and handicaps; none for one that is not fit.
fn successor(preferences: [u8; 2], handicaps: [Option<u8>; 2]) -> u64 {
    let mut table = Table::with_a_holder();
    let [second, third] = preferences;
    let members = [(1, 0), (2, second), (3, third)].map(|(id, preference)| Member {
        id,
        preference,
        proposer: true,
    });
    let configuration = Configuration::new(1, &members).expect("valid");
    for id in 1..=3 {
        table.step(id, feed(configuration));
    }
    for (id, handicap) in (2..).zip(handicaps) {
        table.step(id, fit(handicap.is_some(), handicap.unwrap_or(0)));
    }
    table.run(T);
    table.seat(1).lease = None;
    table.takeover_from(1).0
}

#[test]
fn p1_the_place_goes_by_fitness_then_preference_then_id() {
    assert_eq!(successor([0, 0], [Some(0), Some(0)]), 2, "the lower id");
    assert_eq!(successor([1, 0], [Some(0), Some(0)]), 3, "the preferred");
    assert_eq!(successor([1, 0], [Some(0), Some(1)]), 2, "the fitter");
    assert_eq!(successor([0, 1], [None, Some(3)]), 3, "the only fit");
}

#[test]
fn fitness_that_comes_and_goes_for_minutes_moves_nothing() {
    let mut table = Table::with_a_holder();
    let ballot = table.ballot_of(1);
    let mut random = Random::new(7);
    for _ in 0..3_600 {
        let id = 1 + random.below(3);
        let handicap = u8::try_from(random.below(3)).expect("small");
        table.step(id, fit(random.percent(50), handicap));
        table.run(50 * MS);
        assert_eq!(table.holder(), Some(1));
    }
    assert_eq!(table.ballot_of(1), ballot, "held all the while");
}

/// Whom host 1 names in its release when nobody tells it whom.
fn named(table: &mut Table) -> u64 {
    let start = table.now;
    table.step(1, Input::HandOver { successor: None });
    let mut asked = table.asked_since(1, start).into_iter();
    let name = asked.find_map(|effect| match effect {
        Effect::Send {
            message: Message::Release { successor, .. },
            ..
        } => Some(successor),
        _ => None,
    });
    name.expect("released")
}

#[test]
fn p9_a_holder_that_is_not_told_whom_names_the_fittest_that_answers_and_it_takes_over_at_once() {
    let mut table = Table::with_a_holder();
    table.run(T);
    assert_eq!(named(&mut table), 2, "of equals the first in rank");
    let (holder, took) = table.takeover_from(1);
    assert_eq!(holder, 2);
    assert!(took <= 2 * MS, "{took} ns");

    let mut table = Table::with_a_holder();
    table.step(2, fit(true, 1));
    table.run(T);
    assert_eq!(named(&mut table), 3, "the fitter");
    let (holder, took) = table.takeover_from(1);
    assert_eq!(holder, 3);
    assert!(took <= 2 * MS, "{took} ns");
}

#[test]
fn p9_nobody_is_named_who_cannot_serve_or_has_not_answered_of_late() {
    let mut table = Table::with_a_holder();
    table.step(2, fit(false, 0));
    table.run(T);
    assert_eq!(named(&mut table), 3, "the other cannot serve");

    let mut table = Table::with_a_holder();
    table.run(T);
    table.seat(2).lease = None;
    table.run(T / 2);
    assert_eq!(named(&mut table), 3, "the other is gone");

    let mut table = Table::with_a_holder();
    for id in 2..=3 {
        table.step(id, fit(false, 0));
    }
    table.run(T);
    assert_eq!(named(&mut table), 0, "nobody can serve");
}

#[test]
fn p9_a_hand_over_that_its_successor_does_not_hear_of_goes_to_another_after_a_quarter() {
    let mut table = Table::with_a_holder();
    table.cut = vec![(1, 3)];
    table.step(1, Input::HandOver { successor: Some(3) });
    let (holder, took) = table.takeover_from(1);
    assert_eq!(holder, 2);
    assert!((T / 4..T + 20 * MS).contains(&took), "{took} ns");
}

#[test]
fn p9_a_hand_over_that_nobody_hears_of_costs_the_rest_of_the_lease() {
    let mut table = Table::with_a_holder();
    table.cut = vec![(1, 2), (1, 3)];
    table.step(1, Input::HandOver { successor: Some(3) });
    let (_, took) = table.takeover_from(1);
    assert!(took <= T + 20 * MS, "{took} ns");
}

#[test]
fn p7_without_the_dead_ballot_a_holder_that_does_not_hear_is_never_replaced() {
    let mut table = Table::under(Rules::without(Rule::DeadBallot, T));
    table.cut = vec![(2, 1), (3, 1)];
    table.run(40 * T);
    assert_eq!(table.holder(), None);
}

#[test]
fn p7_without_the_release_a_holder_that_does_not_hear_is_replaced_after_two_leases() {
    let mut table = Table::under(Rules::without(Rule::ReleaseOfTheLost, T));
    table.cut = vec![(2, 1), (3, 1)];
    let (_, took) = table.takeover_from(1);
    assert!(took > 3 * T / 2, "{took} ns");
}

#[test]
fn p1_the_next_in_rank_lets_a_slow_first_one_propose_before_it_tries_itself() {
    let mut table = Table::with_a_holder();
    // Longer than the round trips that the places were reckoned with: hosts that are suddenly busy.
    table.delay = 6 * MS / 5;
    let ballot = table.ballot_of(1);
    // K2, and what K5 sends.
    table.seat(1).lease = None;
    table.seat(1).open_until = 0;
    let release = Message::Release {
        ballot,
        successor: 0,
    };
    let arrival = table.now + table.delay;
    for to in 2..=3 {
        table.flying.push_back((arrival, 1, to, release));
    }
    let (holder, took) = table.takeover_from(1);
    assert_eq!(holder, 2);
    assert!(took <= 10 * MS, "seven ways and no duel: {took} ns");
}
