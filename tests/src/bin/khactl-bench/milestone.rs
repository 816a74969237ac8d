//! When a condition first held: looked at from a thread of its own, inside a lab host's network where
//! it is about the network.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, bail};
use khactl_lab::LabHost;
use khactl_lab::measure::{micros, now_us};
use khactl_tests::{HostNetwork, LONG};
use rustls::ClientConfig;

use crate::https::{http_ok, https_ok, trust};

/// Between two looks. Short against everything that is timed with it, and long enough that looking costs
/// the starting programs next to nothing.
const LOOK: Duration = Duration::from_millis(20);

/// Where every component's readiness is asked on an apiserver.
const READY: &str = "/readyz";
const API_PORT: u16 = 6443;
/// etcd's plain endpoint for health, on loopback.
const ETCD_HEALTH: &str = "/health";
const ETCD_HEALTH_PORT: u16 = 2381;
/// What client-go logs when an instance begins to lead.
const LEADS: &str = "successfully acquired lease";

/// One condition that is being waited for.
#[derive(Debug)]
pub(crate) struct Milestone {
    name: String,
    looking: JoinHandle<anyhow::Result<u64>>,
}

impl Milestone {
    /// The API answers at this address that it is ready, seen from `from`. The file of `authorities` may
    /// come later.
    pub(crate) fn api(
        from: &LabHost,
        address: Ipv4Addr,
        authorities: PathBuf,
    ) -> anyhow::Result<Self> {
        let address = SocketAddr::from((address, API_PORT));
        let mut known: Option<Arc<ClientConfig>> = None;
        Self::start(
            format!("the API is ready at {address}"),
            Some(from),
            move || {
                if known.is_none() {
                    known = trust(&authorities);
                }
                known
                    .as_ref()
                    .is_some_and(|known| https_ok(address, READY, known))
            },
        )
    }

    /// A host's etcd member says that it is healthy.
    pub(crate) fn etcd(host: &LabHost) -> anyhow::Result<Self> {
        let name = format!("etcd of {} is healthy", host.name());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ETCD_HEALTH_PORT));
        Self::start(name, Some(host), move || http_ok(address, ETCD_HEALTH))
    }

    /// A component of a host leads, as its log says.
    pub(crate) fn leads(host: &LabHost, component: &str) -> anyhow::Result<Self> {
        let name = format!("{component} of {} leads", host.name());
        let log = host.log_dir().join(format!("{component}.log"));
        Self::start(name, None, move || says(&log, LEADS))
    }

    /// Looks until `holds`, inside the network of a host if one is given.
    fn start(
        name: String,
        inside: Option<&LabHost>,
        mut holds: impl FnMut() -> bool + Send + 'static,
    ) -> anyhow::Result<Self> {
        let network = inside.map(HostNetwork::of).transpose()?;
        let looking = thread::spawn(move || {
            if let Some(network) = network {
                network.enter()?;
            }
            let end_us = now_us() + micros(LONG);
            loop {
                let at_us = now_us();
                if holds() {
                    return Ok(at_us);
                }
                if at_us >= end_us {
                    bail!("it did not come about in {} s", LONG.as_secs());
                }
                thread::sleep(LOOK);
            }
        });
        Ok(Self { name, looking })
    }

    /// When it was reached, in microseconds since boot; waits for it.
    pub(crate) fn at_us(self) -> anyhow::Result<u64> {
        match self.looking.join() {
            Ok(at_us) => at_us.with_context(|| format!("waiting until {}", self.name)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Seconds between two moments in microseconds.
pub(crate) fn seconds_between(from_us: u64, to_us: u64) -> f64 {
    Duration::from_micros(to_us.saturating_sub(from_us)).as_secs_f64()
}

/// The authority of a host's API, as a path on the machine.
pub(crate) fn authorities_of(host: &LabHost) -> PathBuf {
    host.data_dir().join("pki/kube-apiserver/kubernetes-ca.crt")
}

fn says(log: &Path, words: &str) -> bool {
    std::fs::read(log).is_ok_and(|text| String::from_utf8_lossy(&text).contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_milestone_is_reached_when_its_condition_first_holds() {
        let before_us = now_us();
        let mut looks = 0;
        let milestone = Milestone::start("three looks".into(), None, move || {
            looks += 1;
            looks == 3
        });
        let at_us = milestone.unwrap().at_us().unwrap();
        assert!(
            at_us >= before_us + 2 * micros(LOOK),
            "two looks were in vain"
        );
        assert!(at_us <= now_us());
    }

    #[test]
    fn words_are_found_in_a_log_that_appears_later() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("x.log");
        assert!(!says(&log, LEADS));
        std::fs::write(
            &log,
            "I1 leaderelection.go:253] successfully acquired lease kube-system/x\n",
        )
        .unwrap();
        assert!(says(&log, LEADS));
    }
}
