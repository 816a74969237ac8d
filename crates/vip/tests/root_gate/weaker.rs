//! The fallback, with BPF taken away from the thread that makes the gate.

use khactl_sys::clock::monotonic;
use khactl_vip::gate::{self, Gate, GateKind, GateWatch};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::network::{ip, until};
use crate::segment::{ALL, NONE, OWN, Segment, in_ms, vips};

/// A thread of its own may lose what the process has.
fn without_bpf() {
    let mut sets = capabilities(None).expect("capabilities");
    sets.effective
        .remove(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN);
    set_capabilities(None, sets).expect("dropped");
}

impl Segment {
    fn stand_weaker(&self, interface: &'static str) -> (GateWatch, Gate) {
        let index = self.index(interface);
        self.within("h", move || {
            without_bpf();
            GateWatch::stand(vec![(index, interface.to_owned())], vips())
        })
    }

    fn has_table(&self) -> bool {
        self.within("h", || {
            let output = std::process::Command::new("nft")
                .args(["list", "tables"])
                .output()
                .expect("the nft program");
            String::from_utf8_lossy(&output.stdout).contains("khactl_gate")
        })
    }
}

#[test]
fn nftables_close_and_open_like_bpf_and_the_status_says_why_they_have_to() {
    let segment = Segment::with_vips("nft");
    let (watch, mut gate) = segment.stand_weaker("eth0");
    assert_eq!(watch.status().kind, GateKind::Nft);
    let reason = &watch.status().reason;
    assert!(reason.contains("may not load BPF programs"), "{reason}");
    assert_eq!(segment.vips(), [NONE; 2], "from the start");
    for own in OWN {
        assert_eq!(segment.ask("c", "h", own), ALL, "{own}");
    }
    for _ in 0..2 {
        gate.open(in_ms(9_000)).expect("opened");
        assert_eq!(segment.vips(), [ALL; 2]);
        gate.open(0).expect("closed");
        assert_eq!(segment.vips(), [NONE; 2]);
    }
    gate.open(0).expect("closed already");
    gate.open(in_ms(10)).expect("too short to open");
    assert_eq!(segment.vips(), [NONE; 2]);
}

#[test]
fn the_timeout_of_nftables_is_renewed_shortened_and_ends_by_itself() {
    let segment = Segment::with_vips("tout");
    let (_watch, mut gate) = segment.stand_weaker("eth0");
    // Renewed before it ends: it stays open beyond the first deadline.
    let first = in_ms(400);
    gate.open(first).expect("opened");
    gate.open(in_ms(9_000)).expect("renewed");
    until("the first deadline is past", || in_ms(0) > first);
    assert_eq!(segment.vips(), [ALL; 2]);
    // A nearer deadline replaces a later one.
    let last = in_ms(100);
    gate.open(last).expect("shortened");
    until("the last deadline is past", || in_ms(0) > last);
    assert_eq!(segment.vips(), [NONE; 2]);
}

#[test]
fn either_kind_follows_the_other_without_a_moment_of_neither() {
    let segment = Segment::with_vips("kind");
    let (watch, mut gate) = segment.stand("eth0");
    gate.open(in_ms(9_000)).expect("opened");
    drop((watch, gate));
    let (watch, mut gate) = segment.stand_weaker("eth0");
    segment.within("h", move || watch.sweep().expect("swept"));
    assert_eq!(
        segment.vips(),
        [NONE; 2],
        "closed, whatever the old one was"
    );
    gate.open(in_ms(9_000)).expect("opened");
    assert_eq!(segment.vips(), [ALL; 2], "the old one does not hinder");
    let (watch, mut gate) = segment.stand("eth0");
    assert_eq!(watch.status().kind, GateKind::Bpf);
    assert_eq!(segment.vips(), [NONE; 2]);
    assert!(segment.has_table(), "until it is swept");
    segment.within("h", move || watch.sweep().expect("swept"));
    assert!(!segment.has_table());
    gate.open(in_ms(9_000)).expect("opened");
    assert_eq!(segment.vips(), [ALL; 2]);
}

#[test]
fn a_leftover_of_nftables_is_closed_and_removed_and_a_flushed_one_is_put_back() {
    let segment = Segment::with_vips("left");
    let (watch, mut gate) = segment.stand_weaker("eth0");
    gate.open(in_ms(9_000)).expect("opened");
    segment.within("h", || drop(Gate::leftover().expect("closed")));
    assert_eq!(segment.vips(), [NONE; 2]);
    ip(&format!(
        "netns exec {} nft flush ruleset",
        segment.namespace("h")
    ));
    assert_eq!(segment.vips(), [ALL; 2], "nothing closes it now");
    gate.open(in_ms(9_000)).expect_err("there is no set");
    segment.within("h", move || assert!(watch.mend()));
    assert_eq!(segment.vips(), [NONE; 2]);
    segment.within("h", || gate::remove().expect("removed"));
    assert!(!segment.has_table());
}

#[test]
fn a_refresh_of_nftables_costs_microseconds() {
    let segment = Segment::with_vips("cost");
    let (_watch, mut gate) = segment.stand_weaker("eth0");
    let mut spent: Vec<_> = (0..2_000)
        .map(|_| {
            let (until, start) = (in_ms(2_000), monotonic());
            gate.open(until).expect("renewed");
            monotonic().saturating_sub(start)
        })
        .collect();
    spent.sort_unstable();
    println!(
        "one refresh: median {:?}, p99 {:?}, worst {:?}",
        spent[1_000], spent[1_980], spent[1_999]
    );
    assert_eq!(segment.vips(), [ALL; 2]);
}

#[test]
fn a_check_says_what_the_host_bears_and_leaves_nothing_at_any_interface() {
    let segment = Segment::with_vips("chk");
    let best = segment.within("h", GateWatch::check);
    assert_eq!(best.kind, GateKind::Bpf, "{}", best.reason);
    assert_eq!(best.reason, "");
    let weaker = segment.within("h", || {
        without_bpf();
        GateWatch::check()
    });
    assert_eq!(weaker.kind, GateKind::Nft);
    assert!(
        weaker.reason.contains("may not load BPF programs"),
        "{}",
        weaker.reason
    );
    let left = segment.within("h", || {
        let output = std::process::Command::new("tc")
            .args(["qdisc", "show"])
            .output();
        String::from_utf8_lossy(&output.expect("the tc program").stdout).into_owned()
    });
    assert!(!left.contains("clsact"), "{left}");
    assert!(!segment.has_table());
}
