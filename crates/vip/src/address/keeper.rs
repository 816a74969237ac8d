//! Keeps the address while it is held, on a thread of its own, since what it does may have to wait for the kernel and
//! the lease thread must not: renews the address's lifetime, puts it back if somebody removed it, watches the links,
//! listens for other machines that claim it, keeps the peers' neighbour entries, and tells the rest of the process what
//! it sees. Never leaves the address on a host whose lease is over: what it adds it takes back if the lease ended
//! meanwhile.

mod work;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::address::hold::Hold;
use crate::address::observed::Observed;
use crate::address::peers::Acquaintance;
use crate::address::target::Target;
use crate::lease::Announcer;
use work::Work;

/// The handle of the keeper's thread, which ends with it.
#[derive(Debug)]
pub struct Keeper {
    hold: Arc<Hold>,
    told: Arc<Told>,
    thread: Option<JoinHandle<()>>,
    observed: watch::Receiver<Observed>,
}

/// What the thread is told.
#[derive(Default)]
struct Told {
    stop: AtomicBool,
    /// The latest, until the thread takes it.
    acquaintance: Mutex<Option<Acquaintance>>,
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Told").finish_non_exhaustive()
    }
}

impl Keeper {
    /// Starts it.
    pub fn start(targets: Vec<Target>, hold: Arc<Hold>, announcer: Announcer) -> io::Result<Self> {
        let (observed, receiver) = watch::channel(Observed::default());
        let told = Arc::new(Told::default());
        let mut work = Work::prepare(targets, hold.clone(), announcer, told.clone(), observed)?;
        let thread = std::thread::Builder::new()
            .name("keeper".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || work.run())?;
        Ok(Self {
            hold,
            told,
            thread: Some(thread),
            observed: receiver,
        })
    }

    /// Tells who the lease's peers are.
    pub(crate) fn meet(&self, acquaintance: Acquaintance) {
        let told = &self.told.acquaintance;
        *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(acquaintance);
        self.hold.ring();
    }

    /// What it sees, and every change of that.
    pub fn observed(&self) -> watch::Receiver<Observed> {
        let mut observed = self.observed.clone();
        // A clone would take all since the keeper's start for news, for ever again.
        observed.mark_unchanged();
        observed
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.told.stop.store(true, Ordering::SeqCst);
        self.hold.ring();
        if let Some(thread) = self.thread.take() {
            // A panic of it was printed when it happened.
            let _panicked = thread.join();
        }
    }
}

impl Told {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn take_acquaintance(&self) -> Option<Acquaintance> {
        let told = &self.acquaintance;
        told.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
