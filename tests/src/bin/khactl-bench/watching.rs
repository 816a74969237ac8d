//! For how long a watch through the VIP tells nothing, while its holder meets faults and a writer writes all the time.

use std::collections::BTreeMap;

use khactl_lab::measure::now_us;
use khactl_tests::failover::Fault;
use khactl_tests::{CHECKED, Cluster, LONG, Watch, Writer, until};

use crate::figure::{Figure, Unit};

const HOSTS: usize = 3;
/// Events that must follow a fault, before it is mended and after.
const EVENTS: usize = 20;
const FAULTS: [Fault; 7] = [
    Fault::KhavipKilled,
    Fault::KhavipEnded,
    Fault::Transferred,
    Fault::CutOff,
    Fault::ApiserverHung,
    Fault::ApiserverKilled,
    Fault::HostLost,
];

/// What the rounds gave so far: seconds for the watch as controllers have it, and as kubectl has it by itself.
#[derive(Debug, Default)]
pub(crate) struct Silences(BTreeMap<Fault, [Vec<f64>; 2]>);

impl Silences {
    /// So many faults of each kind.
    pub(crate) fn measure(&mut self, rounds: usize) {
        let cluster = Cluster::up("bench", HOSTS);
        let writer = Writer::start(&cluster);
        let watches = [
            Watch::start(&cluster, &CHECKED),
            Watch::start(&cluster, &[]),
        ];
        for round in 1..=rounds {
            for fault in FAULTS {
                eprintln!("watches, round {round} of {rounds}: {}", fault.name());
                cluster.await_ready(HOSTS);
                await_events(&writer, &watches);
                let struck = cluster.strike(fault, &cluster.holder());
                let from_us = struck.at_us();
                await_events(&writer, &watches);
                cluster.mend(struck);
                cluster.await_ready(HOSTS);
                await_events(&writer, &watches);
                let silences = self.0.entry(fault).or_default();
                for (values, watch) in silences.iter_mut().zip(&watches) {
                    values.push(watch.silence(from_us, now_us()).longest.as_secs_f64());
                }
            }
        }
    }

    pub(crate) fn figures(mut self) -> Vec<Figure> {
        let mut figures = Vec::new();
        for fault in FAULTS {
            let [checked, plain] = self.0.remove(&fault).unwrap_or_default();
            let name = format!("watch silent: {}", fault.name());
            figures.push(Figure::new(&name, Unit::Seconds, checked));
            figures.push(Figure::new(
                "  without checks of its connection",
                Unit::Seconds,
                plain,
            ));
        }
        figures
    }
}

#[track_caller]
fn await_events(writer: &Writer, watches: &[Watch; 2]) {
    let from_us = now_us();
    writer.await_writes(EVENTS);
    until("both watches tell what happens", LONG, || {
        watches
            .iter()
            .all(|watch| watch.events_since(from_us) >= EVENTS)
            .then_some(())
    });
}
