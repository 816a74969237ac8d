//! The gate on a wire: what a client gets out of a host that has the VIPs' addresses.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use khactl_sys::bpf::{Chain, Program};
use khactl_vip::address::quiet_other_interfaces;
use khactl_vip::gate::{self, Gate, GateKind, GateWatch};

use crate::network::{ip, until};
use crate::segment::{ALL, NONE, OWN, Segment, VIPS, in_ms, vips};

/// Longer than any test takes.
const LONG_MS: u64 = 3_600_000;

impl Segment {
    /// A closed gate at this interface of the host.
    pub(crate) fn stand(&self, interface: &'static str) -> (GateWatch, Gate) {
        let index = self.index(interface);
        self.within("h", move || {
            GateWatch::stand(vec![(index, interface.to_owned())], vips())
        })
    }

    fn filters(&self, interface: &str) -> String {
        let shown = ["ingress", "egress"].map(|direction| {
            let output = Command::new("tc")
                .args(["-n", &self.namespace("h"), "filter", "show"])
                .args(["dev", interface, direction])
                .output()
                .expect("the tc program");
            String::from_utf8_lossy(&output.stdout).into_owned()
        });
        shown.concat()
    }

    fn tc(&self, arguments: &str) {
        let output = Command::new("tc")
            .args(["-n", &self.namespace("h")])
            .args(arguments.split_whitespace())
            .output()
            .expect("the tc program");
        assert!(output.status.success(), "tc {arguments}: {output:?}");
    }
}

#[test]
fn closed_it_is_silent_for_the_vips_alone_and_open_it_is_not() {
    let segment = Segment::with_vips("open");
    assert_eq!(segment.vips(), [ALL; 2], "without a gate");
    let (watch, mut gate) = segment.stand("eth0");
    assert_eq!(watch.status().kind, GateKind::Bpf);
    assert_eq!(watch.status().reason, "");
    assert_eq!(watch.status().interfaces, ["eth0"]);
    assert_eq!(segment.vips(), [NONE; 2], "from the start");
    for own in OWN {
        assert_eq!(segment.ask("c", "h", own), ALL, "{own}");
    }
    gate.open(in_ms(LONG_MS)).expect("opened");
    assert_eq!(segment.vips(), [ALL; 2]);
    gate.open(0).expect("closed");
    assert_eq!(segment.vips(), [NONE; 2]);
    gate.open(in_ms(200)).expect("opened");
    assert!(segment.neighbour("c", VIPS[0]).is_some());
    let past = in_ms(200);
    until("the deadline is past", || in_ms(0) > past);
    assert_eq!(segment.vips(), [NONE; 2], "by the deadline alone");
}

#[test]
fn a_host_with_a_closed_gate_is_a_client_of_the_vip_that_another_has() {
    let segment = Segment::new("peer");
    let (_watch, _gate) = segment.stand("eth0");
    segment.give("c", "eth0", &format!("{}/32", VIPS[0]));
    segment.give("c", "eth0", &format!("{}/128", VIPS[1]));
    for vip in VIPS {
        assert_eq!(segment.ask("h", "c", vip), ALL, "{vip}");
    }
    // An announcement reaches it: the entry that it corrects names nobody.
    let namespace = segment.namespace("h");
    ip(&format!(
        "-n {namespace} neigh replace {} lladdr 02:00:00:00:00:99 dev eth0 nud stale",
        VIPS[0]
    ));
    let announced = Command::new("ip")
        .args(["netns", "exec", &segment.namespace("c")])
        .args(["arping", "-q", "-A", "-c", "1", "-I", "eth0", VIPS[0]])
        .status();
    assert!(announced.expect("the arping program").success());
    let mac = segment.mac("c", "eth0");
    until("the announcement is learnt", || {
        let output = ip(&format!("-n {namespace} neigh show to {}", VIPS[0]));
        String::from_utf8_lossy(&output.stdout).contains(&mac)
    });
}

#[test]
fn an_open_gate_of_a_process_that_is_gone_is_closed_replaced_and_opened_by_the_next() {
    let segment = Segment::with_vips("next");
    let (watch, mut gate) = segment.stand("eth0");
    gate.open(in_ms(LONG_MS)).expect("opened");
    drop((watch, gate));
    assert_eq!(segment.vips(), [ALL; 2], "it outlives its maker");
    let mut leftover = segment.within("h", || Gate::leftover().expect("closed"));
    assert_eq!(segment.vips(), [NONE; 2]);
    leftover.open(in_ms(LONG_MS)).expect_err("not its to open");
    assert_eq!(segment.vips(), [NONE; 2]);
    let (_watch, mut gate) = segment.stand("eth0");
    assert_eq!(segment.vips(), [NONE; 2]);
    gate.open(in_ms(LONG_MS)).expect("opened");
    assert_eq!(segment.vips(), [ALL; 2]);
    // A closed one in the place of an open one.
    let (_watch, _gate) = segment.stand("eth0");
    assert_eq!(segment.vips(), [NONE; 2]);
}

#[test]
fn while_it_is_replaced_not_one_question_is_answered() {
    let segment = Segment::with_vips("swap");
    let mac = segment.mac("h", "eth0");
    let client = segment.namespace("c");
    ip(&format!(
        "-n {client} neigh replace {} lladdr {mac} dev eth0 nud permanent",
        VIPS[0]
    ));
    let (_watch, _gate) = segment.stand("eth0");
    let (answered, asked) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let flood = {
        let (answered, asked, stop) = (answered.clone(), asked.clone(), stop.clone());
        segment.within("c", move || {
            std::thread::spawn(move || {
                let to: SocketAddr = format!("{}:9", VIPS[0]).parse().expect("address");
                while !stop.load(Ordering::Relaxed) {
                    let result = TcpStream::connect_timeout(&to, Duration::from_millis(1));
                    asked.fetch_add(1, Ordering::Relaxed);
                    if result.is_ok() {
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
    };
    // Somebody to answer, were the gate ever open.
    let listener = segment.within("h", || {
        std::net::TcpListener::bind((VIPS[0], 9)).expect("bind")
    });
    let replacements = 100;
    let mut round = 0;
    until("enough was asked and replaced", || {
        drop(segment.stand("eth0"));
        round += 1;
        round >= replacements && asked.load(Ordering::Relaxed) >= 200
    });
    assert_eq!(answered.load(Ordering::Relaxed), 0);
    // The flood is answered as soon as it may be.
    let (_watch, mut gate) = segment.stand("eth0");
    gate.open(in_ms(LONG_MS)).expect("opened");
    until("a question is answered", || {
        answered.load(Ordering::Relaxed) > 0
    });
    stop.store(true, Ordering::Relaxed);
    flood.join().expect("the flood ends");
    drop(listener);
}

#[test]
fn what_somebody_took_away_is_put_back_with_its_deadline() {
    let segment = Segment::with_vips("mend");
    let (watch, mut gate) = segment.stand("eth0");
    let watch = segment.within("h", move || {
        assert!(!watch.mend(), "nothing to do");
        watch
    });
    segment.tc("qdisc del dev eth0 clsact");
    assert_eq!(segment.vips(), [ALL; 2], "nothing closes it now");
    let watch = segment.within("h", move || {
        assert!(watch.mend());
        watch
    });
    assert_eq!(segment.vips(), [NONE; 2]);
    gate.open(in_ms(LONG_MS)).expect("opened");
    segment.tc("filter del dev eth0 egress");
    segment.within("h", move || assert!(watch.mend()));
    assert_eq!(segment.vips(), [ALL; 2], "open as it was");
    gate.open(0).expect("closed");
    assert_eq!(segment.vips(), [NONE; 2]);
}

#[test]
fn it_follows_the_vip_to_another_interface_and_leaves_with_the_cluster() {
    let segment = Segment::with_vips("move");
    segment.plug("h", "eth1");
    let (_watch, _gate) = segment.stand("eth0");
    // Another's filter, and a discipline that it needs.
    segment.tc("qdisc add dev eth1 clsact");
    segment.tc("filter add dev eth1 ingress pref 50 protocol all u32 match u32 0 0 classid 1:1");
    let (watch, _gate) = segment.stand("eth1");
    assert!(segment.filters("eth0").contains("khactl-gate"));
    segment.within("h", move || watch.sweep().expect("swept"));
    assert_eq!(segment.filters("eth0"), "");
    assert_eq!(segment.filters("eth1").matches("khactl-gate").count(), 2);
    segment.within("h", || gate::remove().expect("removed"));
    let left = segment.filters("eth1");
    assert!(left.contains("u32"), "another's stays: {left}");
    assert!(!left.contains("khactl-gate"), "{left}");
    segment.within("h", || gate::remove().expect("nothing to remove"));
}

#[test]
fn it_stands_before_filters_that_accept_everything() {
    let segment = Segment::with_vips("frst");
    segment.tc("qdisc add dev eth0 clsact");
    for direction in ["ingress", "egress"] {
        segment.tc(&format!(
            "filter add dev eth0 {direction} pref 2 protocol all u32 match u32 0 0 classid 1:1"
        ));
    }
    let (watch, _gate) = segment.stand("eth0");
    assert_eq!(watch.status().kind, GateKind::Bpf);
    assert_eq!(segment.vips(), [NONE; 2]);
    assert_eq!(segment.ask("c", "h", OWN[0]), ALL);
}

/// As another program's eyes at the interface: it accepts everything.
fn accepting() -> Program {
    // r0 = TC_ACT_OK; exit.
    let code = [[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    Program::load("accepting", &code.map(u64::from_ne_bytes)).expect("loaded")
}

#[test]
fn it_stands_before_programs_that_are_asked_before_any_filter() {
    const BOTH: [Chain; 2] = [Chain::In, Chain::Out];
    let segment = Segment::with_vips("tcx");
    let index = segment.index("eth0");
    let (watch, gate) = segment.stand("eth0");
    let chained = move || BOTH.map(|chain| chain.programs(index).expect("asked").len());
    assert_eq!(
        segment.within("h", chained),
        [0, 0],
        "nobody to come before"
    );
    // Somebody comes later.
    segment.within("h", move || {
        let other = accepting();
        for chain in BOTH {
            chain.put_first(index, &other).expect("attached");
        }
    });
    assert_eq!(segment.vips(), [ALL; 2], "it passes our filter by");
    let watch = segment.within("h", move || {
        assert!(watch.mend());
        assert!(!watch.mend(), "once is enough");
        watch
    });
    assert_eq!(segment.vips(), [NONE; 2]);
    drop((watch, gate));
    // The next process takes our place there too, and closes what it finds.
    let (watch, mut gate) = segment.stand("eth0");
    assert_eq!(segment.within("h", chained), [2, 2]);
    assert_eq!(segment.vips(), [NONE; 2]);
    gate.open(in_ms(LONG_MS)).expect("opened");
    assert_eq!(segment.vips(), [ALL; 2]);
    drop((watch, gate));
    segment.within("h", || drop(Gate::leftover().expect("closed")));
    assert_eq!(segment.vips(), [NONE; 2]);
    segment.within("h", || gate::remove().expect("removed"));
    assert_eq!(segment.within("h", chained), [1, 1], "another's stays");
    assert_eq!(segment.vips(), [ALL; 2]);
}

#[test]
fn a_second_interface_on_the_segment_does_not_answer_for_the_vip() {
    let segment = Segment::with_vips("flux");
    segment.plug("h", "eth1");
    segment.give("h", "eth1", "10.99.0.12/24");
    let (_watch, mut gate) = segment.stand("eth0");
    assert_eq!(
        segment.neighbour("c", VIPS[0]),
        Some(segment.mac("h", "eth1")),
        "Linux answers for any address on any interface"
    );
    segment.within("h", || quiet_other_interfaces("eth0").expect("set"));
    for vip in VIPS {
        assert_eq!(segment.neighbour("c", vip), None);
    }
    gate.open(in_ms(LONG_MS)).expect("opened");
    for vip in VIPS {
        for _ in 0..5 {
            let answered = segment.neighbour("c", vip);
            assert_eq!(answered, Some(segment.mac("h", "eth0")), "{vip}");
        }
    }
}

#[test]
fn a_vip_on_a_bridge_is_gated_there() {
    let segment = Segment::new("brdg");
    let namespace = segment.namespace("h");
    for step in [
        "link add br9 type bridge",
        "link set br9 address 02:00:00:00:09:09",
        "link set br9 up",
        "link set eth0 master br9",
        "addr add 10.99.0.100/32 dev br9",
        "addr add 10.99.0.13/24 dev br9",
    ] {
        let output = ip(&format!("-n {namespace} {step}"));
        assert!(output.status.success(), "{step}: {output:?}");
    }
    segment.within("h", || quiet_other_interfaces("br9").expect("set"));
    until("the bridge forwards", || {
        segment.neighbour("c", VIPS[0]).is_some()
    });
    let (watch, mut gate) = segment.stand("br9");
    assert_eq!(watch.status().kind, GateKind::Bpf);
    assert_eq!(segment.neighbour("c", VIPS[0]), None);
    gate.open(in_ms(LONG_MS)).expect("opened");
    assert!(segment.neighbour("c", VIPS[0]).is_some());
}
