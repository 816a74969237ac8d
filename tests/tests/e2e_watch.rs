//! A watch and a busy writer through the VIP, while everything befalls the host that holds it: whatever was
//! acknowledged is told to the watch in the end, once it has got over it.
//!
//! Two watches run: one as kubectl has it by itself, one with the checks of its connection that khactl gives to
//! controllers. How long each was silent is printed; what is asserted are states and counts.

use std::fmt::Write as _;
use std::time::Duration;

use khactl_lab::measure::now_us;
use khactl_tests::failover::Fault;
use khactl_tests::{CHECKED, Cluster, LONG, SOON, Watch, Writer, soak, until};

const HOSTS: usize = 3;
/// Writes and events that must follow a fault, before it is mended and after.
const EVENTS: usize = 20;

const FAULTS: [Fault; 8] = [
    Fault::KhadKilled,
    Fault::KhavipKilled,
    Fault::KhavipEnded,
    Fault::Transferred,
    Fault::CutOff,
    Fault::ApiserverHung,
    Fault::ApiserverKilled,
    Fault::HostLost,
];

/// By these nothing new befalls a watch that does not look after its connection: it is in the dark for most of a
/// minute, as after those above. Only a long run waits for it here too.
const MORE_FAULTS: [Fault; 7] = [
    Fault::AddressDeleted,
    Fault::ReceivingOnly,
    Fault::SendingOnly,
    Fault::VoterRestarted,
    Fault::BothStopped,
    Fault::BothKilled,
    Fault::HostShutDown,
];

/// Those that are waited for.
struct Watches {
    /// As kubectl has it by itself.
    plain: Option<Watch>,
    /// As khactl's controllers have it.
    checked: Watch,
}

impl Watches {
    fn all(&self) -> impl Iterator<Item = &Watch> {
        self.plain.iter().chain([&self.checked])
    }
}

#[test]
fn whatever_befalls_the_holder_a_watch_is_told_of_every_acknowledged_write() {
    let rounds = if soak() { 10 } else { 1 };
    let [faults, more_faults] = [&FAULTS[..], &MORE_FAULTS[..]].map(Fault::chosen);
    let cluster = Cluster::up("e2ewatch", HOSTS);
    let writer = Writer::start(&cluster);
    let mut watches = Watches {
        plain: Some(Watch::start(&cluster, &[])),
        checked: Watch::start(&cluster, &CHECKED),
    };
    let mut told = format!(
        "{:28} {:>10} {:>10} {:>10}  {}\n",
        "fault (s)", "writer", "watch", "checked", "streams that ended"
    );
    going_on(&cluster, &writer, &watches, now_us());
    for fault in &faults {
        for _ in 0..rounds {
            told += &trial(&cluster, &writer, &watches, *fault);
        }
    }
    if !soak()
        && let Some(plain) = watches.plain.take()
    {
        assert_told_all(&writer, &plain);
    }
    for fault in &more_faults {
        for _ in 0..rounds {
            told += &trial(&cluster, &writer, &watches, *fault);
        }
    }
    cluster.step(&format!("the longest silences\n{told}"));
    for watch in watches.all() {
        assert_told_all(&writer, watch);
    }
    let (acknowledged, lost) = writer.verify(&cluster);
    assert_eq!(lost, [""; 0], "acknowledged and not there");
    assert!(acknowledged >= (faults.len() + more_faults.len()) * EVENTS);
    cluster.step(&format!("{acknowledged} writes were acknowledged"));
}

/// Panics unless the watch tells of every write that was acknowledged so far, and never had to begin anew.
#[track_caller]
fn assert_told_all(writer: &Writer, watch: &Watch) {
    let samples = writer.samples();
    let names: Vec<_> = samples
        .iter()
        .filter(|sample| sample.ok)
        .map(|sample| sample.name.as_str())
        .collect();
    assert!(!names.is_empty(), "nothing was written");
    until("the watch has told everything", SOON, || {
        watch.missing(&names).is_empty().then_some(())
    });
    assert_eq!(watch.relists(), 0, "a watch had to begin anew");
}

/// Inflicts a fault on the holder, waits until writer and watches go on, mends it, and waits again. Gives a line about
/// it.
#[track_caller]
fn trial(cluster: &Cluster, writer: &Writer, watches: &Watches, fault: Fault) -> String {
    cluster.await_ready(HOSTS);
    let holder = cluster.holder();
    cluster.step(&format!("{}: {holder}", fault.name()));
    let struck = cluster.strike(fault, &holder);
    let from_us = struck.at_us();
    going_on(cluster, writer, watches, now_us());
    cluster.mend(struck);
    cluster.await_ready(HOSTS);
    going_on(cluster, writer, watches, now_us());
    let to_us = now_us();
    let mut line = format!(
        "{:28} {}",
        fault.name(),
        seconds(writer.silence(from_us, to_us))
    );
    let mut ends = String::new();
    for watch in [watches.plain.as_ref(), Some(&watches.checked)] {
        let Some(watch) = watch else {
            line += &" ".repeat(11);
            continue;
        };
        let silence = watch.silence(from_us, to_us);
        // Writing into a string does not fail.
        let _ = write!(line, " {}", seconds(silence.longest));
        let _ = write!(ends, " {:?}", silence.ends);
    }
    line + " " + &ends + "\n"
}

/// Waits until the writer writes and the watches tell of it, from a moment on. A client that looks after its connection
/// only now and then takes a minute to see that it leads nowhere.
#[track_caller]
fn going_on(cluster: &Cluster, writer: &Writer, watches: &Watches, from_us: u64) {
    writer.await_writes(EVENTS);
    until("the watches tell what happens", LONG, || {
        watches
            .all()
            .all(|watch| watch.events_since(from_us) >= EVENTS)
            .then_some(())
    });
    cluster.step("the watches go on");
}

fn seconds(time: Duration) -> String {
    format!("{:>10.2}", time.as_secs_f64())
}
