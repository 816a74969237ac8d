//! A writer through the VIP that records every acknowledged write.

use std::fmt::Write as _;

use std::time::Duration;

use khactl_lab::measure::{Measurement, Sample, SampleKind, now_us, tally};
use serde::Deserialize;

use crate::cluster::Cluster;
use crate::kube::KUBECONFIG;
use crate::{SOON, until};

/// Where the client keeps the record while it is compared.
const RECORD: &str = "/etc/khactl/written.jsonl";

/// What `khactl lab verify -o json` prints.
#[derive(Debug, Deserialize)]
struct Verdict {
    acknowledged: usize,
    lost: Vec<String>,
}

/// `khactl lab write` in the client.
#[derive(Debug)]
pub struct Writer {
    measurement: Measurement,
}

impl Writer {
    /// Starts it. Call it from a thread that lives as long as the writer.
    #[track_caller]
    pub fn start(cluster: &Cluster) -> Self {
        let mut command = match cluster.host("client").exec("khactl") {
            Ok(command) => command,
            Err(error) => panic!("{error}"),
        };
        command.args(["lab", "write", "--kubeconfig", KUBECONFIG]);
        match Measurement::start(command) {
            Ok(measurement) => Self { measurement },
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until `count` writes are acknowledged that began after this call.
    #[track_caller]
    pub fn await_writes(&self, count: usize) {
        let from_us = now_us();
        until(&format!("{count} writes are acknowledged"), SOON, || {
            let done = self.measurement.successes_since(SampleKind::Write, from_us);
            (done >= count).then_some(())
        });
    }

    /// Its tries to write so far.
    pub fn samples(&self) -> Vec<Sample> {
        let mut samples = self.measurement.samples();
        samples.retain(|sample| sample.kind == SampleKind::Write);
        samples
    }

    /// The longest time without an acknowledged write, from one moment to another, in microseconds since boot.
    pub fn silence(&self, from_us: u64, to_us: u64) -> Duration {
        let counted = tally(&self.samples(), SampleKind::Write, from_us, to_us);
        Duration::from_micros(counted.gap_us)
    }

    /// Ends it and compares its record with what the API holds. Gives the number of acknowledged
    /// writes, and the names of those that are not there.
    #[track_caller]
    pub fn verify(self, cluster: &Cluster) -> (usize, Vec<String>) {
        let samples = match self.measurement.stop() {
            Ok(samples) => samples,
            Err(error) => panic!("the writer: {error}"),
        };
        let acknowledged = samples
            .iter()
            .filter(|sample| sample.ok && sample.kind == SampleKind::Write)
            .count();
        let mut record = String::new();
        for sample in &samples {
            let Ok(line) = serde_json::to_string(sample) else {
                panic!("a sample cannot be written: {sample:?}");
            };
            // Writing into a string does not fail.
            let _ = writeln!(record, "{line}");
        }
        cluster.write("client", RECORD, &record);
        let arguments = ["lab", "verify", "--kubeconfig", KUBECONFIG, RECORD];
        let outcome = cluster.khactl("client", &arguments);
        let Ok(verdict) = serde_json::from_str::<Verdict>(&outcome.stdout) else {
            panic!("no verdict: {outcome}");
        };
        assert_eq!(
            verdict.acknowledged, acknowledged,
            "the record is not whole"
        );
        (acknowledged, verdict.lost)
    }
}
