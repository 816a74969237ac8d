//! Addresses that are about to leave this host, at which nobody is served meanwhile: who is there learns of it while a
//! reset still reaches him, and nobody new comes to stay. Whether and when an address goes is for others to decide.
//!
//! ```text
//!  served ──part──▶ listener closed, clients reset ──the last one closed──▶ told ──Parting dropped──▶ served
//! ```

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::balancer::Shared;

/// Keeps clients away from addresses for as long as it lives.
#[must_use = "the addresses are served again as soon as it is dropped"]
#[derive(Debug)]
pub struct Parting {
    shared: Arc<Shared>,
    addresses: Vec<IpAddr>,
}

impl Parting {
    pub(crate) fn begin(shared: Arc<Shared>, addresses: Vec<IpAddr>, gone: Gone) -> Self {
        shared.partings.begin(&addresses, gone);
        Self { shared, addresses }
    }
}

impl Drop for Parting {
    fn drop(&mut self) {
        self.shared.partings.end(&self.addresses);
    }
}

/// All partings of a balancer.
#[derive(Debug, Default)]
pub(crate) struct Partings {
    /// An address is there as often as it is parted from.
    addresses: watch::Sender<Vec<IpAddr>>,
    /// Those that the balancer's task has not looked at yet.
    waiting: Mutex<Vec<Gone>>,
}

impl Partings {
    /// The addresses that nobody is to be served at, and every change of them.
    pub(crate) fn watch(&self) -> watch::Receiver<Vec<IpAddr>> {
        self.addresses.subscribe()
    }

    /// Who is to be told once nobody is left at the addresses.
    pub(crate) fn take_waiting(&self) -> Vec<Gone> {
        std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn begin(&self, addresses: &[IpAddr], gone: Gone) {
        // First, so that it is there when the task learns of the addresses.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(gone);
        drop(waiting);
        self.addresses
            .send_modify(|parted| parted.extend_from_slice(addresses));
    }

    fn end(&self, addresses: &[IpAddr]) {
        self.addresses.send_modify(|parted| {
            for address in addresses {
                if let Some(place) = parted.iter().position(|other| other == address) {
                    parted.swap_remove(place);
                }
            }
        });
    }
}

/// What is to be done once nobody is left.
pub(crate) struct Gone(Box<dyn FnOnce() + Send>);

impl Gone {
    pub(crate) fn new(gone: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(gone))
    }

    pub(crate) fn tell(self) {
        (self.0)();
    }
}

impl fmt::Debug for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gone").finish_non_exhaustive()
    }
}
