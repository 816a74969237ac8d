//! Single stories on a perfect network with one clock: what each rule does when nothing else goes wrong.

mod placement;
mod table;

use table::{T, Table, configuration, feed};

use crate::timing::{GRACE, MS, SILENCE};
use crate::{Effect, Effects, Identity, Input, Lease, Message, Timing};

#[test]
fn p1_a_lost_holder_is_replaced_by_the_first_in_rank_soon_after_the_lease() {
    let mut table = Table::with_a_holder();
    table.seat(1).lease = None;
    let (holder, took) = table.takeover_from(1);
    assert_eq!(holder, 2);
    assert!(took <= T + 5 * MS, "{took} ns");
}

#[test]
fn p3_a_ballot_is_recorded_before_it_leaves() {
    let mut table = Table::with_a_holder();
    table.seat(1).lease = None;
    table.takeover_from(1);
    let asked = table.asked_since(2, 0);
    let sent = asked.iter().position(|e| {
        matches!(
            e,
            Effect::Send {
                message: Message::Prepare { .. },
                ..
            }
        )
    });
    let before = &asked[..sent.expect("prepared")];
    assert_eq!(
        before
            .iter()
            .rev()
            .find(|e| !matches!(e, Effect::Send { .. })),
        Some(&Effect::Record)
    );
}

#[test]
fn p7_a_holder_that_is_heard_but_hears_nothing_closes_and_is_replaced() {
    let mut table = Table::with_a_holder();
    let dead = table.ballot_of(1);
    table.cut = vec![(2, 1), (3, 1)];
    let start = table.now;
    let (holder, took) = table.takeover_from(1);
    assert_eq!(holder, 2);
    assert!(
        took <= T + 20 * MS,
        "its release frees the locks: {took} ns"
    );
    let asked = table.asked_since(1, start);
    let place = |wanted: Effect| asked.iter().position(|effect| *effect == wanted);
    let release = Effect::Send {
        to: 2,
        message: Message::Release {
            ballot: dead,
            successor: 0,
        },
    };
    assert!(place(Effect::CloseGate) < place(Effect::RemoveAddress));
    assert!(place(Effect::RemoveAddress) < place(release));
    table.run(10 * T);
    assert_eq!(table.holder(), Some(2));
    let prepared = |effect: &Effect| {
        matches!(
            effect,
            Effect::Send {
                message: Message::Prepare { .. },
                ..
            }
        )
    };
    assert!(
        !table.asked_since(1, start).iter().any(prepared),
        "P2: it only asks"
    );
}

#[test]
fn p7_a_clock_jump_closes_at_once() {
    let mut table = Table::with_a_holder();
    table.step(1, Input::ClockJump);
    assert_eq!(table.holder(), None);
    assert_ne!(table.takeover_from(1).0, 1);
}

#[test]
fn p9_a_hand_over_closes_removes_records_releases_and_its_successor_takes_it_at_once() {
    let mut table = Table::with_a_holder();
    let (start, ballot) = (table.now, table.ballot_of(1));
    table.step(1, Input::HandOver { successor: Some(3) });
    let release = |to| Effect::Send {
        to,
        message: Message::Release {
            ballot,
            successor: 3,
        },
    };
    let expected = [
        Effect::CloseGate,
        Effect::RemoveAddress,
        Effect::Record,
        release(2),
        release(3),
    ];
    let asked = table.asked_since(1, start);
    assert_eq!(
        asked
            .iter()
            .filter(|e| !matches!(
                e,
                Effect::Send {
                    message: Message::Query { .. },
                    ..
                }
            ))
            .copied()
            .collect::<Vec<_>>(),
        expected
    );
    assert_eq!(table.seat(1).record.released, ballot);
    let (holder, took) = table.takeover_from(1);
    assert_eq!(holder, 3);
    assert!(took <= 2 * MS, "{took} ns");
}

#[test]
fn p9_without_its_successor_another_takes_over_after_a_quarter() {
    let mut table = Table::with_a_holder();
    table.seat(3).lease = None;
    table.step(1, Input::HandOver { successor: Some(3) });
    let (holder, took) = table.takeover_from(1);
    assert_eq!(holder, 2);
    assert!((T / 4..T / 4 + 10 * MS).contains(&took), "{took} ns");
}

#[test]
fn p10_a_new_process_closes_first_and_takes_a_new_ballot() {
    let mut table = Table::with_a_holder();
    for id in 2..=3 {
        table.step(
            id,
            Input::Fit {
                fit: false,
                handicap: 0,
            },
        );
    }
    let (old, start) = (table.ballot_of(1), table.now);
    table.start(1);
    let first = table.asked_since(1, start);
    assert_eq!(
        first,
        [Effect::CloseGate, Effect::RemoveAddress, Effect::Record]
    );
    table.step(1, feed(configuration(1, &[1, 2, 3])));
    let release = Effect::Send {
        to: 2,
        message: Message::Release {
            ballot: old,
            successor: 0,
        },
    };
    assert!(table.asked_since(1, start).contains(&release));
    table.step(
        1,
        Input::Fit {
            fit: true,
            handicap: 0,
        },
    );
    table.run(T / 10);
    assert_eq!(
        table.holder(),
        Some(1),
        "what its dead process held is free at once"
    );
    assert_ne!(table.ballot_of(1).incarnation, old.incarnation);
}

#[test]
fn p6_a_new_epoch_keeps_the_earned_deadline_and_goes_on_under_it() {
    let mut table = Table::with_a_holder();
    let (ballot, start) = (table.ballot_of(1), table.now);
    for id in 1..=3 {
        table.step(id, feed(configuration(2, &[1, 2])));
    }
    table.run(2 * GRACE);
    assert_eq!((table.holder(), table.ballot_of(1)), (Some(1), ballot));
    let asked = table.asked_since(1, start);
    assert!(!asked.contains(&Effect::CloseGate));
    let strangers = |e: &Effect| {
        matches!(
            e,
            Effect::Send {
                to: 3,
                message: Message::Propose { .. }
            }
        )
    };
    assert!(
        !asked.iter().any(strangers),
        "the removed host is not asked any more"
    );
}

#[test]
fn a_holder_announces_the_address_in_a_burst_and_then_every_ten_seconds() {
    let mut table = Table::with_a_holder();
    table.run(25_000 * MS);
    let announced = |table: &mut Table, id: u64| -> Vec<u64> {
        let asked = table.seat(id).asked.iter();
        let announcements = asked.filter(|(_, effect)| *effect == Effect::Announce);
        announcements.map(|(at, _)| *at / MS).collect()
    };
    let at = announced(&mut table, 1);
    let pauses: Vec<u64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses, [20, 80, 400, 10_000, 10_000]);
    for other in 2..=3 {
        assert!(
            announced(&mut table, other).is_empty(),
            "{other} holds none"
        );
    }

    // Who takes over begins with the burst again, and who lost it is silent.
    let left = table.now / MS;
    table.step(1, Input::HandOver { successor: Some(2) });
    table.run(11_000 * MS);
    assert_eq!(table.holder(), Some(2));
    assert_eq!(announced(&mut table, 2).len(), 5);
    assert!(announced(&mut table, 1).iter().all(|at| *at <= left));
}

#[test]
fn p6_a_holder_that_was_removed_hands_over() {
    let mut table = Table::with_a_holder();
    for id in 1..=3 {
        table.step(id, feed(configuration(2, &[2, 3])));
    }
    assert_eq!(table.holder(), None);
    assert!(table.takeover_from(1).1 <= T / 4);
}

#[test]
fn a9_the_fence_follows_the_feed_after_the_grace_and_never_falls() {
    let mut table = Table::with_a_holder();
    table.run(GRACE);
    assert_eq!(table.seat(2).record.fence, 1);
    table.step(2, feed(configuration(5, &[1, 2, 3])));
    table.run(GRACE - MS);
    assert_eq!(table.seat(2).record.fence, 1);
    table.run(2 * MS);
    assert_eq!(table.seat(2).record.fence, 5);
    table.step(2, feed(configuration(4, &[1, 2, 3])));
    table.run(2 * GRACE);
    let lease = table.seat(2).lease.as_ref().expect("runs");
    assert_eq!(
        (lease.record().fence, lease.record().configuration.epoch()),
        (5, 5)
    );
}

#[test]
fn a8_silence_and_readiness_come_back_from_the_record_and_else_begin_anew() {
    let identity = Identity {
        host: 1,
        incarnation: 5,
        seed: 1,
    };
    let mut effects = Effects::new();
    let fresh = Lease::start(identity, 1_000, None, &mut effects);
    assert_eq!(
        effects.iter().collect::<Vec<_>>(),
        [Effect::CloseGate, Effect::RemoveAddress, Effect::Record]
    );
    assert_eq!(
        (fresh.record().silent_until, fresh.record().ready),
        (1_000 + SILENCE, false)
    );
    let again = Lease::start(identity, 5_000, Some(&fresh.record()), &mut effects);
    assert_eq!(
        (again.record().silent_until, again.record().ready),
        (1_000 + SILENCE, false)
    );
}

#[test]
fn a1_an_unconfirmed_feed_makes_nobody_ready() {
    let mut effects = Effects::new();
    let identity = Identity {
        host: 1,
        incarnation: 5,
        seed: 1,
    };
    let mut lease = Lease::start(identity, 1, None, &mut effects);
    let (configuration, timing) = (
        configuration(1, &[1]),
        Timing::from_lease_ms(250).expect("valid"),
    );
    lease.step(
        2,
        Input::Feed {
            configuration,
            timing,
            confirmed: false,
        },
        &mut effects,
    );
    lease.step(
        2,
        Input::Fit {
            fit: true,
            handicap: 0,
        },
        &mut effects,
    );
    lease.step(2 * SILENCE, Input::Tick, &mut effects);
    assert!(!lease.view(2 * SILENCE).holding);
    lease.step(
        2 * SILENCE,
        Input::Feed {
            configuration,
            timing,
            confirmed: true,
        },
        &mut effects,
    );
    for now in (2 * SILENCE..3 * SILENCE).step_by(1_000_000) {
        lease.step(now, Input::Tick, &mut effects);
    }
    assert!(
        lease.view(3 * SILENCE - MS).holding,
        "one host alone is its own majority"
    );
}

#[test]
fn nobody_speaks_for_another_host() {
    let mut table = Table::with_a_holder();
    let ballot = table.ballot_of(1);
    let start = table.now;
    for message in [
        Message::Release {
            ballot,
            successor: 0,
        },
        Message::Propose {
            ballot,
            seq: 1,
            epoch: 1,
            lease: T,
        },
        Message::Prepare { ballot, epoch: 1 },
    ] {
        table.step(
            2,
            Input::Datagram {
                sender: 3,
                incarnation: ballot.incarnation,
                message,
            },
        );
    }
    let answered = |effect: &Effect| matches!(effect, Effect::Answer(_));
    assert!(!table.asked_since(2, start).iter().any(answered));
    assert!(
        table
            .seat(2)
            .lease
            .as_ref()
            .is_some_and(|lease| lease.record().lock.is_some())
    );
}
