//! The keeper's loop.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use khactl_sys::clock::{boottime, monotonic};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::watch;

use super::Told;
use crate::address::announcement::Mac;
use crate::address::conflict::Conflicts;
use crate::address::hold::Hold;
use crate::address::netlink::{Link, Netlink, News, Request};
use crate::address::observed::Observed;
use crate::address::peers::{Acquaintance, Peers};
use crate::address::port::VALID_S;
use crate::address::target::Target;
use crate::lease::Announcer;

/// Between two renewals of the lifetime.
const RENEWAL: Duration = Duration::from_millis(500);

/// Before the first question who has the VIP: by then the peers have been heard, of whom one may rightly have it.
const HEAR_FIRST: Duration = Duration::from_millis(200);

/// Before a claim by an unknown machine counts: by then a peer that has just changed its hardware address is known.
const HEAR_BEFORE: Duration = Duration::from_millis(150);

/// Claims that wait for that; a flood of them is one conflict too.
const SUSPECTS_MAX: usize = 8;

/// Between two contradictions asked of the lease thread, which is not to be woken by a flood.
const CONTRADICT: Duration = Duration::from_millis(100);

/// Hardware addresses that claimed the VIP while a peer held it whose own is not known by its datagrams.
const LEARNED_MAX: usize = 16;

pub(super) struct Work {
    targets: Vec<Target>,
    hold: Arc<Hold>,
    announcer: Announcer,
    told: Arc<Told>,
    requests: Netlink,
    news: Netlink,
    observed: watch::Sender<Observed>,
    conflicts: Conflicts,
    peers: Option<Peers>,
    /// This host's own hardware addresses: another of its interfaces may answer too.
    own: BTreeSet<Mac>,
    /// Those of peers whose lease runs over another network than the VIP.
    learned: BTreeSet<Mac>,
    /// Claims by machines unknown as yet, and when they count.
    suspects: Vec<(IpAddr, Mac, Duration)>,
    next_contradiction: Duration,
    next_renewal: Duration,
}

impl Work {
    pub(super) fn prepare(
        targets: Vec<Target>,
        hold: Arc<Hold>,
        announcer: Announcer,
        told: Arc<Told>,
        observed: watch::Sender<Observed>,
    ) -> io::Result<Self> {
        let now = monotonic();
        let mut work = Self {
            conflicts: Conflicts::open(&targets, now + HEAR_FIRST)?,
            targets,
            hold,
            announcer,
            told,
            // The news first: what changes after the first look is not missed.
            news: Netlink::open_for_news()?,
            requests: Netlink::open()?,
            observed,
            peers: None,
            own: BTreeSet::new(),
            learned: BTreeSet::new(),
            suspects: Vec::new(),
            next_contradiction: now,
            next_renewal: now,
        };
        work.look()?;
        work.tell();
        Ok(work)
    }

    pub(super) fn run(&mut self) {
        while !self.told.is_stopped() {
            let now = monotonic();
            let holding = self.hold.is_wanted();
            if let Some(acquaintance) = self.told.take_acquaintance() {
                self.meet(acquaintance, now);
            }
            if let Some(peers) = self.peers.as_mut().filter(|peers| now >= peers.next()) {
                peers.look(now, &mut self.requests);
            }
            self.judge_suspects(now);
            let (targets, hold) = (&self.targets, &self.hold);
            self.conflicts.ask(now, |target| {
                let place = targets.iter().position(|other| other == target);
                place.map_or(target.mac, |place| hold.mac(place))
            });
            if holding && now >= self.next_renewal {
                self.renew();
                self.next_renewal = now + RENEWAL;
            }
            self.observe(|observed| observed.holding = holding);
            self.tell();
            let renewal = holding.then_some(self.next_renewal);
            let look = self.peers.as_ref().map(Peers::next);
            let suspect = self.suspects.iter().map(|(_, _, due)| *due).min();
            let next = [renewal, look, suspect, self.conflicts.next()];
            let next = next.into_iter().flatten();
            let wait = next.min().map(|next| next.saturating_sub(now));
            match self.sleep(wait) {
                Ok((news, claims)) => {
                    if news {
                        self.read_news();
                    }
                    if claims {
                        self.read_claims();
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the keeper of the address cannot wait for news");
                    break;
                }
            }
        }
        if let Some(peers) = self.peers.take() {
            peers.part(&mut self.requests);
        }
    }

    /// Until the bell, the kernel's news (then the first is true), a claim (the second), or the time is up.
    fn sleep(&self, wait: Option<Duration>) -> io::Result<(bool, bool)> {
        let timeout = wait.and_then(|wait| Timespec::try_from(wait).ok());
        let mut waited = vec![
            PollFd::from_borrowed_fd(self.hold.bell(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.news.as_fd(), PollFlags::IN),
        ];
        let claims = self.conflicts.descriptors();
        waited.extend(claims.map(|claim| PollFd::from_borrowed_fd(claim, PollFlags::IN)));
        match poll(&mut waited, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok((false, false)),
            Err(error) => return Err(error.into()),
        }
        let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        if ready(&waited[0]) {
            self.hold.silence();
        }
        Ok((ready(&waited[1]), waited[2..].iter().any(ready)))
    }

    /// Renews the lifetime, or puts back what was removed. The lease may end between the look and the request; hence
    /// the second look, and a deadline already past is not renewed at all.
    fn renew(&mut self) {
        if u128::from(self.hold.until()) <= boottime().as_nanos() {
            return;
        }
        let mut result = Ok(());
        for target in &self.targets {
            let add = Request::add(target.index, target.address, VALID_S);
            let renewed = self.requests.carry_out(&add);
            if !self.hold.is_wanted() {
                for target in &self.targets {
                    let remove = Request::remove(target.index, target.address);
                    let _absent = self.requests.carry_out(&remove);
                }
                return;
            }
            if let Err(error) = renewed {
                tracing::warn!(vip = %target.address, interface = target.interface, %error,
                    "the lifetime of the VIP's address was not renewed");
                result = Err(error);
            }
        }
        self.hold.set_add_result(&result);
    }

    /// Something happened to the address or its link: puts it there again and has it announced.
    fn mend(&mut self) {
        if self.hold.is_wanted() {
            self.renew();
            self.announcer.announce();
        }
    }

    fn meet(&mut self, acquaintance: Acquaintance, now: Duration) {
        let own = self.requests.addresses();
        let met = own.and_then(|own| Peers::meet(acquaintance, &own, now));
        match met {
            Ok(mut peers) => {
                match (&mut peers, self.peers.take()) {
                    (Some(peers), Some(before)) => peers.inherit(&before, &mut self.requests),
                    (None, Some(before)) => before.part(&mut self.requests),
                    _ => {}
                }
                self.peers = peers;
            }
            Err(error) => tracing::warn!(%error, "the lease's peers cannot be listened to"),
        }
    }

    /// Takes note of the claims by machines that are unknown, and contradicts them if this host holds.
    fn read_claims(&mut self) {
        let now = monotonic();
        let mut strangers = false;
        for (address, by) in self.conflicts.read() {
            if self.is_known(by) {
                continue;
            }
            strangers = true;
            let noted = |(known, mac, _): &(IpAddr, Mac, Duration)| (*known, *mac) == (address, by);
            if self.suspects.len() < SUSPECTS_MAX && !self.suspects.iter().any(noted) {
                self.suspects.push((address, by, now + HEAR_BEFORE));
            }
        }
        if strangers && now >= self.next_contradiction {
            self.next_contradiction = now + CONTRADICT;
            self.announcer.announce();
        }
    }

    /// Who is still unknown after a while is a stranger.
    fn judge_suspects(&mut self, now: Duration) {
        let (due, waiting): (Vec<_>, Vec<_>) =
            self.suspects.drain(..).partition(|(_, _, at)| now >= *at);
        self.suspects = waiting;
        if due.is_empty() {
            return;
        }
        if let Some(peers) = &mut self.peers {
            peers.look(now, &mut self.requests);
        }
        // The holder may rightly claim it, and does so from another network than its datagrams come from.
        let proved = |member| self.peers.as_ref().is_some_and(|peers| peers.knows(member));
        let other = self.announcer.other_holder();
        let excused = other.is_some_and(|member| !proved(member));
        for (address, by, _) in due {
            if self.is_known(by) {
                continue;
            }
            if excused && self.learned.len() < LEARNED_MAX {
                self.learned.insert(by);
            } else {
                self.conflicts.claimed(address, by, now);
            }
        }
    }

    fn is_known(&self, mac: Mac) -> bool {
        let mut peers = self.peers.iter().flat_map(Peers::macs);
        self.own.contains(&mac) || self.learned.contains(&mac) || peers.any(|peer| peer == mac)
    }

    fn read_news(&mut self) {
        let news = match self.news.news() {
            Ok(Some(news)) => news,
            Ok(None) => {
                if let Err(error) = self.look() {
                    tracing::warn!(%error, "interfaces cannot be listed");
                }
                self.mend();
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
                    let mut targets = self.targets.iter();
                    let ours = targets.any(|t| (t.index, t.address) == (gone.index, gone.address));
                    if ours && self.hold.is_wanted() {
                        tracing::warn!(vip = %gone.address, "somebody removed the VIP; it comes back");
                        self.mend();
                    }
                }
                News::Link(link) => self.note_link(&link),
                News::LinkGone(index) => self.note_gone(index),
            }
        }
    }

    fn look(&mut self) -> io::Result<()> {
        let links = self.requests.links()?;
        let gone: Vec<u32> = self
            .targets
            .iter()
            .map(|target| target.index)
            .filter(|index| links.iter().all(|link| link.index != *index))
            .collect();
        for index in gone {
            self.note_gone(index);
        }
        for link in &links {
            self.note_link(link);
        }
        Ok(())
    }

    fn note_gone(&mut self, index: u32) {
        if self.targets.iter().any(|target| target.index == index) {
            self.observe(|observed| {
                observed.without_carrier.insert(index);
                observed.gone.insert(index);
            });
        }
    }

    fn note_link(&mut self, link: &Link) {
        let (index, running) = (link.index, link.running);
        if let Some(mac) = link.mac {
            self.own.insert(mac);
            for (place, target) in self.targets.iter().enumerate() {
                if target.index == index && self.hold.mac(place) != mac {
                    self.hold.set_mac(place, mac);
                    self.announcer.announce();
                }
            }
        }
        if running && let Some(peers) = &mut self.peers {
            peers.link_up(index, monotonic());
        }
        if self.targets.iter().all(|target| target.index != index) {
            return;
        }
        let came_back = running && self.observed.borrow().without_carrier.contains(&index);
        self.observe(|observed| {
            observed.gone.remove(&index);
            if running {
                observed.without_carrier.remove(&index);
            } else {
                observed.without_carrier.insert(index);
            }
            if !link.name.is_empty() {
                observed.names.insert(index, link.name.clone());
            }
        });
        if came_back {
            // Neighbours may have aged us out, and IPv6 addresses do not survive a link that goes down.
            self.mend();
            if !self.hold.is_wanted() {
                self.conflicts.ask_afresh(index, monotonic());
            }
        }
    }

    /// What is known of other machines with the VIP.
    fn tell(&mut self) {
        let verdicts = self.conflicts.verdicts();
        self.observe(|observed| observed.verdicts = verdicts);
    }

    fn observe(&self, change: impl FnOnce(&mut Observed)) {
        self.observed.send_if_modified(|observed| {
            let before = observed.clone();
            change(observed);
            *observed != before
        });
    }
}
