//! One participant's part in the election, as client-go 0.20 plays it: when it reads the Lease, when it writes, when
//! it gives up. Every step is that library's, its weaknesses too: one that was replaced goes on as the leader until its
//! renewal deadline.

use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use khactl_sys::{clock, entropy};
use khactl_tests::Api;
use serde_json::{Value, json};

use crate::flags::Times;
use crate::observed::{Observed, Record};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
/// A follower waits up to so many times its period longer than that.
const JITTER: f64 = 1.2;
/// A connection that does not answer for so long is given up: what HTTP/2's checks do for the real one.
const ANSWER: Duration = Duration::from_secs(10);

/// A participant.
#[derive(Debug)]
pub(crate) struct Elector {
    api: Api,
    name: &'static str,
    identity: String,
    times: Times,
    observed: Observed,
}

impl Elector {
    /// A participant in the election of that name.
    pub(crate) fn new(api: Api, name: &'static str, identity: String, times: Times) -> Self {
        Self {
            api,
            name,
            identity,
            times,
            observed: Observed::default(),
        }
    }

    /// Returns once it leads.
    pub(crate) fn acquire(&mut self) -> anyhow::Result<()> {
        while !self.tried(self.times.renew_deadline) {
            let random = u32::from_le_bytes(entropy::bytes()?);
            let jitter = f64::from(random) / f64::from(u32::MAX) * JITTER;
            thread::sleep(self.times.retry.mul_f64(1.0 + jitter));
        }
        Ok(())
    }

    /// Returns when it has not been able to renew for the whole deadline.
    pub(crate) fn renew(&mut self) {
        loop {
            let end = clock::monotonic() + self.times.renew_deadline;
            let mut next = clock::monotonic();
            while !self.tried(end.saturating_sub(clock::monotonic())) {
                next = (next + self.times.retry).max(clock::monotonic());
                if next >= end {
                    thread::sleep(end.saturating_sub(clock::monotonic()));
                    return;
                }
                thread::sleep(next.saturating_sub(clock::monotonic()));
            }
            thread::sleep(self.times.retry);
        }
    }

    fn tried(&mut self, within: Duration) -> bool {
        match self.try_acquire_or_renew(within.clamp(Duration::from_millis(1), ANSWER)) {
            Ok(led) => led,
            Err(error) => {
                eprintln!("lease {}: {error:#}", self.name);
                false
            }
        }
    }

    fn try_acquire_or_renew(&mut self, within: Duration) -> anyhow::Result<bool> {
        let now = clock::monotonic();
        let path = format!("{LEASES}/{}", self.name);
        let answer = self.api.call("GET", &path, "", within)?;
        if answer.status == 404 {
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self.name, "namespace": "kube-system"},
                "spec": self.spec(None, 0)?,
            });
            let made = self
                .api
                .call("POST", LEASES, &lease.to_string(), within)?
                .status;
            ensure!(made == 201, "creating it: {made}");
            self.observed.wrote(&self.identity, now);
            return Ok(true);
        }
        ensure!(answer.status == 200, "reading it: {}", answer.status);
        let mut lease: Value = serde_json::from_slice(&answer.body)?;
        let old = Record::of(&lease["spec"]);
        self.observed.read(&old, clock::monotonic());
        if !self
            .observed
            .may_try(&old, &self.identity, self.times.lease, now)
        {
            return Ok(false);
        }
        lease["spec"] = if self.observed.leads(&self.identity) {
            self.spec(lease["spec"]["acquireTime"].as_str(), old.transitions)?
        } else {
            self.spec(None, old.transitions + 1)?
        };
        let status = self
            .api
            .call("PUT", &path, &lease.to_string(), within)?
            .status;
        match status {
            200 => {
                self.observed.wrote(&self.identity, now);
                Ok(true)
            }
            409 => Ok(false),
            _ => bail!("writing it: {status}"),
        }
    }

    fn spec(&self, acquired: Option<&str>, transitions: u64) -> anyhow::Result<Value> {
        let now = jiff::Timestamp::try_from(clock::wall())
            .context("the wall clock is out of range")?
            .strftime("%Y-%m-%dT%H:%M:%S.%6fZ")
            .to_string();
        Ok(json!({
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self.times.lease.as_secs(),
            "acquireTime": acquired.unwrap_or(&now),
            "renewTime": now,
            "leaseTransitions": transitions,
        }))
    }
}
