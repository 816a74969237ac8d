//! Addresses that are about to leave this host, at which nobody is served meanwhile: who is there learns of it while a
//! reset still reaches him, and nobody new comes to stay. Whether and when an address goes is for others to decide.
//!
//! ```text
//!  served ──part──▶ listener closed, clients reset ──the last one closed──▶ told ──Parting dropped──▶ served
//! ```

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

    /// The addresses that nobody is to be served at now, and who is to be told once nobody is left at them.
    pub(crate) fn take(&self) -> (Vec<IpAddr>, Vec<Gone>) {
        // Both at one moment, as they were put there: nobody is told by addresses that his are not among.
        let mut waiting = self.waiting();
        let addresses = self.addresses.borrow().clone();
        (addresses, std::mem::take(&mut *waiting))
    }

    fn begin(&self, addresses: &[IpAddr], gone: Gone) {
        let mut waiting = self.waiting();
        waiting.push(gone);
        self.addresses
            .send_modify(|parted| parted.extend_from_slice(addresses));
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Gone>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn who_waits_is_taken_with_his_addresses_and_once() {
        let partings = Partings::default();
        let told = Arc::new(AtomicUsize::new(0));
        let gone = || {
            let told = told.clone();
            Gone::new(move || {
                told.fetch_add(1, Ordering::Relaxed);
            })
        };
        let [first, second] =
            ["10.77.0.100", "fd77::100"].map(|text| text.parse::<IpAddr>().expect("an address"));
        partings.begin(&[first], gone());
        partings.begin(&[second], gone());
        let (addresses, waiting) = partings.take();
        assert_eq!((addresses, waiting.len()), (vec![first, second], 2));
        waiting.into_iter().for_each(Gone::tell);
        assert_eq!(told.load(Ordering::Relaxed), 2);
        partings.end(&[first]);
        let (addresses, waiting) = partings.take();
        assert_eq!((addresses, waiting.len()), (vec![second], 0));
    }
}
