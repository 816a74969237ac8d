//! Whose a component's Lease is, looked at from a host that stays: from a thread of its own, over one connection with
//! that host's own credentials of the component.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use khactl_lab::LabHost;
use khactl_lab::measure::now_us;
use khactl_tests::{Api, HostNetwork, LONG, until};
use serde_json::Value;

/// As the hosts see it.
const DATA_DIR: &str = "/var/lib/khactl";
/// Between two looks: short against every takeover, and next to nothing for the API.
const LOOK: Duration = Duration::from_millis(20);
/// For one look; the next one connects anew.
const ANSWER: Duration = Duration::from_millis(500);

/// The holders of one Lease, one after the other.
#[derive(Debug)]
pub(crate) struct Holders {
    component: String,
    seen: Arc<Mutex<Vec<(u64, String)>>>,
    over: Arc<AtomicBool>,
    looking: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Holders {
    /// Of this component, from now on, as its host sees it.
    pub(crate) fn watch(host: &LabHost, component: &str) -> anyhow::Result<Self> {
        let path = host
            .data_dir()
            .join("pki")
            .join(component)
            .join("kubeconfig");
        let kubeconfig =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        // The files that it names, as paths on the machine.
        let data_dir = host.data_dir();
        let kubeconfig = kubeconfig.replace(DATA_DIR, &data_dir.to_string_lossy());
        let mut api = Api::new(&kubeconfig)?;
        let network = HostNetwork::of(host)?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let over = Arc::new(AtomicBool::new(false));
        let path =
            format!("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{component}");
        let (shared, end) = (Arc::clone(&seen), Arc::clone(&over));
        let looking = thread::spawn(move || {
            network.enter()?;
            while !end.load(Ordering::Relaxed) {
                if let Some(holder) = look(&mut api, &path) {
                    let mut seen = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    if seen.last().is_none_or(|(_, last)| *last != holder) {
                        seen.push((now_us(), holder));
                    }
                }
                thread::sleep(LOOK);
            }
            Ok(())
        });
        Ok(Self {
            component: component.to_owned(),
            seen,
            over,
            looking: Some(looking),
        })
    }

    /// Who holds it; waits until somebody does.
    #[track_caller]
    pub(crate) fn holder(&self) -> String {
        until(&format!("a {} leads", self.component), LONG, || {
            let (_, holder) = self.seen().pop()?;
            (!holder.is_empty()).then_some(holder)
        })
    }

    /// When somebody else was first seen to hold it, in microseconds since boot; waits for it.
    #[track_caller]
    pub(crate) fn another_at_us(&self, before: &str) -> u64 {
        until(&format!("another {} leads", self.component), LONG, || {
            let seen = self.seen();
            let after = seen.iter().rposition(|(_, holder)| holder == before)? + 1;
            seen[after..]
                .iter()
                .find(|(_, holder)| !holder.is_empty())
                .map(|(at_us, _)| *at_us)
        })
    }

    fn seen(&self) -> Vec<(u64, String)> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Holders {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(looking) = self.looking.take() {
            // What it could not see was waited for in vain, and said.
            let _ = looking.join();
        }
    }
}

/// The holder's identity, empty if there is none; none if the API does not say.
fn look(api: &mut Api, path: &str) -> Option<String> {
    let answer = api.call("GET", path, "", ANSWER).ok()?;
    let lease: Value = serde_json::from_slice(&answer.body).ok()?;
    let held = || lease["spec"]["holderIdentity"].as_str();
    (answer.status == 200).then(|| held().unwrap_or_default().to_owned())
}
