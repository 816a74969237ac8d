use khactl_lease::Member;
use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000 * MS;

/// No test begins at the boot.
const START: u64 = 100 * SECOND;

fn members(epoch: u64, ids: &[u64]) -> Configuration {
    let members: Vec<Member> = ids
        .iter()
        .map(|id| Member {
            id: *id,
            preference: 0,
            proposer: true,
        })
        .collect();
    Configuration::new(epoch, &members).expect("valid")
}

fn process(pid: u32) -> ProcessId {
    ProcessId {
        pid,
        start_ticks: 7,
    }
}

/// Host 1's fence, past its first feed, so that what is fed from now on waits for a majority.
fn fence(ids: &[u64]) -> Fence {
    let mut fence = Fence::new(1, 77, 0);
    fence.feed(members(1, ids), true, START);
    fence.guard([].into_iter(), START);
    fence
}

/// Asks at `now`, and has these hosts answer at once.
fn ask(fence: &mut Fence, now: u64, answering: &[u64]) -> bool {
    let Some(seq) = fence.ask(now) else {
        return false;
    };
    for host in answering {
        fence.answered(*host, seq, now);
    }
    true
}

fn overdue(fence: &mut Fence, now: u64) -> Vec<u32> {
    fence.overdue(now).map(|(_, process)| process.pid).collect()
}

fn is_armed(fence: &Fence) -> bool {
    fence.view().places[0].armed
}

#[test]
fn what_a_majority_answers_for_is_armed_and_killed_when_it_is_silent() {
    let mut fence = fence(&[1, 2, 3]);
    fence.guard([process(50)].into_iter(), START);
    assert!(!is_armed(&fence));
    assert!(ask(&mut fence, START, &[3]));
    assert!(is_armed(&fence));
    assert_eq!(fence.wake(), START + ASK);
    ask(&mut fence, START + ASK, &[]);
    assert_eq!(overdue(&mut fence, START + SILENCE - 1), []);
    assert_eq!(overdue(&mut fence, START + SILENCE), [50]);
    fence.fired(0, true, START + SILENCE);
    let view = fence.view();
    assert!(view.places[0].killed && !view.places[0].armed);
    assert_eq!((view.fired, view.fired_after), (1, SILENCE));
    assert_eq!(overdue(&mut fence, START + 2 * SILENCE), []);
}

#[test]
fn an_answer_counts_from_when_its_question_was_sent() {
    let mut fence = fence(&[1, 2, 3]);
    fence.guard([process(50)].into_iter(), START);
    let seq = fence.ask(START).expect("due");
    fence.answered(2, seq, START + 400 * MS);
    assert!(is_armed(&fence));
    assert_eq!(overdue(&mut fence, START + SILENCE), [50]);
}

#[test]
fn a_thread_that_cannot_go_on_is_told_what_is_armed_and_nothing_else() {
    let pids = |fence: &Fence| -> Vec<u32> { fence.armed().map(|(_, armed)| armed.pid).collect() };
    let mut fence = fence(&[1, 2, 3]);
    fence.guard([process(50)].into_iter(), START);
    assert_eq!(pids(&fence), [], "it waits for a majority");
    ask(&mut fence, START, &[2]);
    fence.guard([process(50), process(51)].into_iter(), START + MS);
    assert_eq!(pids(&fence), [50]);
    fence.fired(0, true, START + MS);
    assert_eq!(pids(&fence), []);
}

#[test]
fn a_minority_of_five_is_not_enough() {
    let mut fence = fence(&[1, 2, 3, 4, 5]);
    fence.guard([process(50)].into_iter(), START);
    ask(&mut fence, START, &[2]);
    assert!(!is_armed(&fence));
    ask(&mut fence, START + ASK, &[2, 2, 9]);
    assert!(!is_armed(&fence), "nobody counts twice, and no stranger");
    ask(&mut fence, START + 2 * ASK, &[2, 5]);
    assert!(is_armed(&fence));
}

#[test]
fn a_process_that_was_started_without_a_majority_is_left_alone_until_there_is_one() {
    let mut fence = fence(&[1, 2, 3]);
    fence.guard([process(50)].into_iter(), START);
    ask(&mut fence, START, &[2]);
    let cut = START + SILENCE;
    assert_eq!(overdue(&mut fence, cut), [50]);
    fence.fired(0, true, cut);
    fence.guard([process(51)].into_iter(), cut);
    for later in 0..100 {
        let now = cut + later * ASK;
        ask(&mut fence, now, &[]);
        assert_eq!(overdue(&mut fence, now), []);
    }
    ask(&mut fence, cut + 100 * ASK, &[3]);
    assert!(is_armed(&fence));
    assert_eq!(overdue(&mut fence, cut + 100 * ASK + SILENCE), [51]);
}

#[test]
fn what_the_first_feed_names_is_killed_a_silence_after_the_contact_of_the_khavip_before() {
    let fed = START + 400 * MS;
    let mut fence = Fence::new(1, 77, START);
    fence.feed(members(1, &[1, 2, 3]), true, fed);
    fence.guard([process(50)].into_iter(), fed);
    assert!(!is_armed(&fence), "nobody may rely on it yet");
    assert_eq!(overdue(&mut fence, START + SILENCE - 1), []);
    assert_eq!(overdue(&mut fence, START + SILENCE), [50]);
    fence.fired(0, true, START + SILENCE);
    assert_eq!(fence.view().fired_after, SILENCE);
}

#[test]
fn a_new_khavip_that_can_show_no_contact_kills_what_it_is_fed_first_before_it_hears_anybody() {
    for inherited in [0, START - SILENCE] {
        let mut fence = Fence::new(1, 77, inherited);
        fence.feed(members(1, &[1, 2, 3]), true, START);
        assert!(!fence.view().guarding);
        fence.guard([process(50)].into_iter(), START);
        assert!(fence.view().guarding);
        assert_eq!(overdue(&mut fence, START), [50]);
        fence.fired(0, true, START);
        ask(&mut fence, START, &[2, 3]);
        // What comes later was never armed by anybody.
        fence.guard([process(51)].into_iter(), START);
        assert_eq!(overdue(&mut fence, START), []);
    }
}

#[test]
fn a_new_khavip_that_reaches_a_majority_in_time_kills_nothing() {
    let mut fence = Fence::new(1, 77, START - SILENCE + MS);
    fence.feed(members(1, &[1, 2, 3]), true, START);
    fence.guard([process(50)].into_iter(), START);
    assert_eq!(overdue(&mut fence, START), []);
    ask(&mut fence, START, &[3]);
    assert!(is_armed(&fence));
    assert_eq!(overdue(&mut fence, START + SILENCE - 1), []);
    assert_eq!(overdue(&mut fence, START + SILENCE), [50]);
}

#[test]
fn without_a_confirmed_epoch_nobody_may_rely_on_it() {
    let mut fence = Fence::new(1, 77, START);
    fence.feed(members(1, &[1, 2, 3]), false, START);
    fence.guard([process(50)].into_iter(), START);
    ask(&mut fence, START, &[2, 3]);
    assert!(!is_armed(&fence));
    fence.feed(members(1, &[1, 2, 3]), true, START + MS);
    assert!(is_armed(&fence));
}

#[test]
fn without_a_confirmed_epoch_nothing_new_is_killed() {
    let mut fence = Fence::new(1, 77, START);
    fence.feed(members(1, &[1, 2, 3]), false, START);
    fence.guard([].into_iter(), START);
    fence.guard([process(50)].into_iter(), START);
    ask(&mut fence, START, &[2, 3]);
    assert_eq!(overdue(&mut fence, START + SILENCE), []);
}

#[test]
fn a_host_alone_is_its_own_majority_and_asks_nobody() {
    let mut fence = fence(&[1]);
    fence.guard([process(50)].into_iter(), START);
    assert!(is_armed(&fence));
    assert_eq!(fence.wake(), u64::MAX);
    assert_eq!(fence.ask(START + SECOND), None);
    assert_eq!(overdue(&mut fence, START + 100 * SECOND), []);
    // A second member comes: what was owed to nobody begins now.
    let joined = START + 200 * SECOND;
    fence.feed(members(2, &[1, 2]), true, joined);
    assert_eq!(overdue(&mut fence, joined + SILENCE - 1), []);
    assert_eq!(overdue(&mut fence, joined + SILENCE), [50]);
}

#[test]
fn a_suspend_counts_as_silence() {
    let mut fence = fence(&[1, 2, 3]);
    fence.guard([process(50), process(51)].into_iter(), START);
    ask(&mut fence, START, &[2, 3]);
    assert_eq!(overdue(&mut fence, START + 3_600 * SECOND), [50, 51]);
}

#[test]
fn only_a_question_that_was_sent_after_the_feed_arms() {
    let mut fence = fence(&[1, 2, 3]);
    fence.guard([process(50)].into_iter(), START);
    ask(&mut fence, START, &[2]);
    fence.guard([process(51)].into_iter(), START + MS);
    assert!(!is_armed(&fence));
    let later = START + 2 * SILENCE;
    assert_eq!(overdue(&mut fence, later), []);
    ask(&mut fence, later, &[2]);
    assert!(is_armed(&fence));
}

#[test]
fn told_the_same_again_changes_nothing() {
    let mut fence = Fence::new(1, 77, START);
    fence.feed(members(1, &[1, 2, 3]), true, START);
    fence.guard([process(50)].into_iter(), START);
    fence.guard([process(50)].into_iter(), START + 900 * MS);
    assert_eq!(overdue(&mut fence, START + SILENCE), [50]);
    fence.fired(0, true, START + SILENCE);
    fence.guard([process(50)].into_iter(), START + SILENCE);
    assert!(fence.view().places[0].killed);
}

#[test]
fn an_answer_stays_its_own_members_when_another_leaves() {
    let mut fence = fence(&[1, 2, 3, 4, 5]);
    fence.guard([process(50)].into_iter(), START);
    ask(&mut fence, START, &[2]);
    fence.feed(members(2, &[1, 3, 4, 5]), true, START);
    ask(&mut fence, START + ASK, &[4]);
    assert!(!is_armed(&fence), "nobody answers for who left");
    ask(&mut fence, START + 2 * ASK, &[3]);
    assert!(is_armed(&fence));
}

#[test]
fn what_cannot_be_killed_is_tried_again_a_little_later() {
    let mut fence = fence(&[1, 2, 3]);
    fence.guard([process(50)].into_iter(), START);
    ask(&mut fence, START, &[2]);
    let now = START + SILENCE;
    ask(&mut fence, now, &[]);
    fence.fired(0, false, now);
    assert_eq!(overdue(&mut fence, now), []);
    assert_eq!(fence.wake(), now + AGAIN);
    assert_eq!(overdue(&mut fence, now + AGAIN), [50]);
}

#[test]
fn answers_to_an_earlier_process_of_this_host_count_nothing() {
    let mut before = fence(&[1, 2, 3]);
    before.guard([process(50)].into_iter(), START);
    let seq = before.ask(START).expect("due");
    let mut fence = Fence::new(1, 99_999, START);
    fence.feed(members(1, &[1, 2, 3]), true, START);
    fence.guard([process(50)].into_iter(), START);
    fence.ask(START);
    fence.answered(2, seq, START);
    assert!(!is_armed(&fence));
}

#[test]
fn who_answers_too_late_arms_nothing() {
    let mut fence = fence(&[1, 2, 3]);
    fence.guard([process(50)].into_iter(), START);
    let mut asked = Vec::new();
    for turn in 0..20 {
        let now = START + turn * ASK;
        asked.push(fence.ask(now).expect("due"));
        if turn >= 4 {
            let late = asked[usize::try_from(turn).expect("small") - 4];
            fence.answered(2, late, now);
        }
        assert!(!is_armed(&fence));
        assert_eq!(overdue(&mut fence, now), []);
    }
}

/// One thing that happens, and how much later than the one before.
#[derive(Debug, Clone)]
enum Happens {
    Pass(u64),
    Ask,
    Answer { from: u64, back: usize },
    Fed(u32),
    Members(usize),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        4 => (0..700 * MS).prop_map(Happens::Pass),
        4 => Just(Happens::Ask),
        6 => (2..=6_u64, 0..10_usize).prop_map(|(from, back)| Happens::Answer { from, back }),
        1 => (50..53_u32).prop_map(Happens::Fed),
        1 => (2..=5_usize).prop_map(Happens::Members),
    ]
}

proptest! {
    /// Against a model that remembers every question: nothing is killed within F of the sending of a question that a
    /// majority answered, and whatever was armed does not outlive F without one.
    #[test]
    fn killed_neither_early_nor_late(events in prop::collection::vec(happens(), 1..200)) {
        let mut fence = fence(&[1, 2, 3]);
        let (mut now, mut epoch, mut ids) = (START, 1, vec![1, 2, 3]);
        let mut questions: Vec<(u64, u64)> = Vec::new();
        let mut latest: std::collections::BTreeMap<u64, u64> = std::collections::BTreeMap::new();
        let mut contact = 0;
        for event in events {
            match event {
                Happens::Pass(time) => now += time,
                Happens::Ask => questions.extend(fence.ask(now).map(|seq| (seq, now))),
                Happens::Answer { from, back } => {
                    let Some((seq, sent)) = questions.iter().rev().nth(back).copied() else { continue };
                    fence.answered(from, seq, now);
                    // Those before the last eight are forgotten, and no member of the time is a stranger.
                    if back < ASKED_MAX && ids.contains(&from) {
                        let known = latest.entry(from).or_default();
                        *known = (*known).max(sent);
                    }
                }
                Happens::Fed(pid) => fence.guard([process(pid)].into_iter(), now),
                Happens::Members(count) => {
                    epoch += 1;
                    ids = (1..=count as u64).collect();
                    latest.retain(|id, _| ids.contains(id));
                    fence.feed(members(epoch, &ids), true, now);
                }
            }
            let mut times: Vec<u64> = latest.values().copied().collect();
            times.sort_unstable_by(|a, b| b.cmp(a));
            // This host counts itself.
            contact = contact.max(times.get(ids.len() / 2 - 1).copied().unwrap_or(0));
            let armed_before = is_armed(&fence);
            let due: Vec<_> = fence.overdue(now).collect();
            if now < contact + SILENCE {
                prop_assert!(due.is_empty(), "killed {} ms after contact", (now - contact) / MS);
            } else {
                prop_assert!(!armed_before || !due.is_empty(), "outlived its contact");
            }
            for (place, _) in due {
                fence.fired(place, true, now);
            }
            prop_assert!(!is_armed(&fence) || now < contact + SILENCE);
            let wake = fence.wake();
            prop_assert!(!is_armed(&fence) || wake <= contact + SILENCE);
        }
    }
}
