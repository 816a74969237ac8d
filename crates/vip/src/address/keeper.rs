//! Keeps the address while it is held: renews its lifetime in the kernel (which takes a lock that
//! the lease thread must not wait for), notices that somebody removed it or that the link came
//! back, and tells the rest of the process about holding and carrier. Never puts the address on a
//! host whose lease is over: what it renews it takes back if the lease ended meanwhile.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::watch;

use crate::address::hold::Hold;
use crate::address::netlink::{Netlink, News, Request};
use crate::address::port::VALID_S;
use crate::address::target::Target;

/// Between two renewals of the lifetime.
const RENEWAL: Duration = Duration::from_millis(500);

/// The handle of the keeper's thread, which ends with it.
#[derive(Debug)]
pub struct Keeper {
    hold: Arc<Hold>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    observed: watch::Receiver<Observed>,
}

/// What the keeper sees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// The address stands here by the lease's will.
    pub holding: bool,
    /// Interfaces of the VIP that have no carrier, or are gone.
    pub without_carrier: BTreeSet<u32>,
    /// Those of them that are gone.
    pub gone: BTreeSet<u32>,
}

impl Observed {
    /// What keeps the host from serving, in words.
    pub(crate) fn hindrances(&self, targets: &[Target]) -> Vec<String> {
        let mut hindrances = BTreeSet::new();
        for target in targets {
            let (index, interface) = (target.index, &target.interface);
            if self.gone.contains(&index) {
                hindrances.insert(format!("{interface} is gone"));
            } else if self.without_carrier.contains(&index) {
                hindrances.insert(format!("{interface} has no carrier"));
            }
        }
        hindrances.into_iter().collect()
    }
}

struct Work {
    targets: Vec<Target>,
    hold: Arc<Hold>,
    stop: Arc<AtomicBool>,
    requests: Netlink,
    news: Netlink,
    observed: watch::Sender<Observed>,
}

impl Keeper {
    /// Starts it.
    pub fn start(targets: Vec<Target>, hold: Arc<Hold>) -> io::Result<Self> {
        let (observed, receiver) = watch::channel(Observed::default());
        let stop = Arc::new(AtomicBool::new(false));
        let mut work = Work {
            targets,
            hold: hold.clone(),
            stop: stop.clone(),
            // The news first: what changes after the first look is not missed.
            news: Netlink::open_for_news()?,
            requests: Netlink::open()?,
            observed,
        };
        work.look()?;
        let thread = std::thread::Builder::new()
            .name("keeper".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || work.run())?;
        Ok(Self {
            hold,
            stop,
            thread: Some(thread),
            observed: receiver,
        })
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
        self.stop.store(true, Ordering::SeqCst);
        self.hold.ring();
        if let Some(thread) = self.thread.take() {
            // A panic of it was printed when it happened.
            let _panicked = thread.join();
        }
    }
}

impl Work {
    fn run(&mut self) {
        let mut next_renewal = khactl_sys::clock::monotonic();
        while !self.stop.load(Ordering::SeqCst) {
            let holding = self.hold.is_wanted();
            self.observe(|observed| observed.holding = holding);
            let now = khactl_sys::clock::monotonic();
            if holding && now >= next_renewal {
                self.renew();
                next_renewal = now + RENEWAL;
            }
            let wait = holding.then(|| next_renewal.saturating_sub(now));
            match self.sleep(wait) {
                Ok(true) => self.read_news(),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, "the keeper of the address cannot wait for news");
                    return;
                }
            }
        }
    }

    /// Until the bell, news (then true) or the time is up.
    fn sleep(&self, wait: Option<Duration>) -> io::Result<bool> {
        let timeout = wait.and_then(|wait| Timespec::try_from(wait).ok());
        let mut waited = [
            PollFd::from_borrowed_fd(self.hold.bell(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.news.as_fd(), PollFlags::IN),
        ];
        match poll(&mut waited, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let (rung, news) = (
            !waited[0].revents().is_empty(),
            !waited[1].revents().is_empty(),
        );
        if rung {
            self.hold.silence();
        }
        Ok(news)
    }

    /// Renews the lifetime. The lease may end between the look and the request; hence the second
    /// look, and a deadline already past is not renewed at all.
    fn renew(&mut self) {
        let now = khactl_sys::clock::boottime();
        if u128::from(self.hold.until()) <= now.as_nanos() {
            return;
        }
        for target in &self.targets {
            let add = Request::add(target.index, target.address, VALID_S);
            let renewed = self.requests.carry_out(&add);
            if !self.hold.is_wanted() {
                let remove = Request::remove(target.index, target.address);
                let _absent = self.requests.carry_out(&remove);
                return;
            }
            if let Err(error) = renewed {
                tracing::warn!(vip = %target.address, interface = target.interface, %error,
                    "the lifetime of the VIP's address was not renewed");
            }
        }
    }

    fn read_news(&mut self) {
        let news = match self.news.news() {
            Ok(Some(news)) => news,
            Ok(None) => {
                if let Err(error) = self.look() {
                    tracing::warn!(%error, "interfaces cannot be listed");
                }
                self.hold.ask_repair();
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "news of addresses cannot be read");
                return;
            }
        };
        for news in news {
            match news {
                News::Removed(gone) => {
                    let ours = self
                        .targets
                        .iter()
                        .any(|t| t.index == gone.index && t.address == gone.address);
                    if ours && self.hold.is_wanted() {
                        tracing::warn!(vip = %gone.address, "somebody removed the VIP; it comes back");
                        self.hold.ask_repair();
                    }
                }
                News::Link(link) => self.note_carrier(link.index, link.running),
                News::LinkGone(index) => self.note_carrier(index, false),
            }
        }
    }

    fn look(&mut self) -> io::Result<()> {
        let links = self.requests.links()?;
        for index in self
            .targets
            .iter()
            .map(|t| t.index)
            .collect::<BTreeSet<_>>()
        {
            let running = links.iter().any(|link| link.index == index && link.running);
            self.note_carrier(index, running);
        }
        Ok(())
    }

    fn note_carrier(&self, index: u32, running: bool) {
        if !self.targets.iter().any(|target| target.index == index) {
            return;
        }
        let came_back = running && self.observed.borrow().without_carrier.contains(&index);
        self.observe(|observed| {
            if running {
                observed.without_carrier.remove(&index);
            } else {
                observed.without_carrier.insert(index);
            }
        });
        if came_back {
            // Neighbours may have aged us out, and IPv6 addresses do not survive a link that goes down.
            self.hold.ask_repair();
        }
    }

    fn observe(&self, change: impl FnOnce(&mut Observed)) {
        self.observed.send_if_modified(|observed| {
            let before = observed.clone();
            change(observed);
            *observed != before
        });
    }
}
