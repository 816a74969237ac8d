//! A cluster under the eyes of an oracle and of a client that asks it five hundred times a second.

use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use khactl_lab::measure::{SampleKind, now_us, tally};
use khactl_lab::oracle::{ASK_EVERY, Answers, Oracle, SILENT_AFTER};
use khactl_lab::{LabHost, Signal, VIP};

use super::course::{Course, Turn};
use super::fault::{Fault, Then};
use super::trial::{Seen, Trial, VoterInTime};
use crate::cluster::Cluster;
use crate::probe::Probe;
use crate::random::Random;
use crate::view::COMPONENTS;
use crate::{LONG, SOON, until};

/// The balancer's port.
const PORT: u16 = 6443;

/// So many answers in a row are service.
const SERVED: usize = 50;

/// The longest period of anything that looks at anything: what khad reports, each second.
const PERIOD: Duration = Duration::from_secs(1);

/// An overlap that is no matter of a frame or two: ten rounds of the oracle's questions.
const SHOWN: Duration = ASK_EVERY.saturating_mul(10);

/// A cluster that is watched.
#[derive(Debug)]
pub struct Watched<'a> {
    cluster: &'a Cluster,
    oracle: Oracle,
    probe: Probe,
}

impl<'a> Watched<'a> {
    /// From now on; returns when all is well.
    #[track_caller]
    pub fn new(cluster: &'a Cluster) -> Self {
        let oracle = match Oracle::start(cluster.lab(), &[IpAddr::V4(VIP)]) {
            Ok(oracle) => oracle,
            Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
        };
        let target = SocketAddr::from((VIP, PORT));
        let probe = match Probe::start(cluster.lab().client(), target) {
            Ok(probe) => probe,
            Err(error) => panic!("{error:#}"),
        };
        let mut watched = Self {
            cluster,
            oracle,
            probe,
        };
        watched.settled();
        watched
    }

    /// Waits until everything is as if nothing had ever happened: the client is served, every host runs
    /// every program, could hold the VIP and has three healthy apiservers, and all agree on the holder.
    /// Gives it.
    #[track_caller]
    pub fn settled(&mut self) -> String {
        let hosts = self.cluster.names().len();
        let holder = until("the whole cluster is well again", LONG, || {
            let from_us = now_us();
            let holder = self.cluster.whole_lease(hosts)?;
            let status = self.cluster.leaders_status()?;
            let ready = status.hosts.iter().all(|host| host.state == "ready");
            let runs_all = |host: &String| {
                let pids = self.cluster.component_pids(host);
                let sees_all = self
                    .cluster
                    .vip_status(host)
                    .is_some_and(|vip| vip.backends.iter().filter(|b| b.healthy).count() == hosts);
                sees_all && COMPONENTS.iter().all(|name| pids.contains_key(*name))
            };
            let well = ready
                && status.hosts.len() == hosts
                && self.cluster.names().iter().all(runs_all)
                && self.probe.successes_in_a_row(from_us) > 0
                && self.cluster.whole_lease(hosts).as_ref() == Some(&holder);
            well.then_some(holder)
        });
        self.await_served(now_us());
        assert_eq!(
            self.cluster.holders(),
            [holder.as_str()],
            "whose khavip says that it holds the VIP"
        );
        holder
    }

    /// Inflicts a fault on the holder, mends it, and waits until all is well again. Panics unless the VIP stayed or moved
    /// as the fault means it.
    #[track_caller]
    pub fn trial(&mut self, fault: Fault, random: &mut Random) -> Trial {
        let from_us = now_us();
        // All is well: the trial before this one ended so.
        let holder = until("all agree on the holder", SOON, || {
            self.cluster.whole_lease(self.cluster.names().len())
        });
        // Nothing that looks from time to time is met at the same point of its round twice.
        thread::sleep(random.below(PERIOD));
        self.cluster.step(&format!("{}: {holder}", fault.name()));
        self.probe
            .forget_before(now_us().saturating_sub(us(PERIOD)));
        let struck = self.cluster.strike(fault, &holder);
        let struck_us = struck.at_us();
        let voter_back = struck.voter_back();
        self.await_holder(fault, &holder, struck_us);
        self.await_served(now_us());
        thread::sleep(fault.lasts());
        let mended_us = now_us();
        self.cluster.mend(struck);
        let last = self.settled();
        let over_us = now_us();
        let turns = self.turns(struck_us, over_us);
        let course = Course {
            fault,
            struck: &holder,
            turns: &turns,
            mended: time(mended_us),
            last: &last,
        };
        assert_eq!(course.complaint(), None, "{}: {turns:?}", fault.name());
        Trial {
            fault,
            during: self.seen(struck_us, mended_us),
            after: self.seen(mended_us, over_us),
            voter_in_time: voter_back.map(|back| VoterInTime {
                answered: course.lease_ran_at(time(back.answered_us)),
                took_part: course.lease_ran_at(time(back.took_part_us)),
            }),
            // From the end of the trial before this one: no moment of the run goes unjudged.
            overlaps: self.overlaps(from_us, over_us),
        }
    }

    /// Who has answered so far; panics if the oracle or the client is blind.
    #[track_caller]
    pub fn answers(&mut self) -> Answers {
        if let Err(error) = self.probe.check() {
            panic!("{error:#}");
        }
        match self.oracle.answers() {
            Ok(answers) => answers,
            Err(error) => panic!("{error}"),
        }
    }

    /// What the oracle saw between two moments that must not be, in words.
    #[track_caller]
    pub fn overlaps(&mut self, from_us: u64, to_us: u64) -> Vec<String> {
        let answers = self.answers();
        let (from, to) = (time(from_us), time(to_us));
        // An oracle that does not even see the one holder has nothing to say of a second one.
        let (arp, ip) = answers
            .between(from, to)
            .fold((0, 0), |(arp, ip), span| (arp + span.arp, ip + span.ip));
        assert!(arp > 0 && ip > 0, "the oracle saw {arp} ARP and {ip} IP");
        answers
            .overlaps(from, to)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// Takes the kernel's gate away from a host whose khad and khavip stand still, as if there never had
    /// been one, and waits until two hosts answer for the VIP. Then lets them go on.
    #[track_caller]
    pub fn stopped_without_gate(&mut self) -> Vec<String> {
        let holder = self.settled();
        self.cluster
            .step(&format!("both stopped, without the gate: {holder}"));
        let struck = self.cluster.strike(Fault::BothStopped, &holder);
        let struck_us = struck.at_us();
        // Both kinds of it; the one that is not there says so, and that is all right.
        for removal in [
            ["tc", "qdisc", "del", "dev", "eth0", "clsact"].as_slice(),
            ["nft", "flush", "ruleset"].as_slice(),
        ] {
            drop(self.cluster.run(&holder, removal[0], &removal[1..]));
        }
        until("two hosts answer for the VIP at once", SOON, || {
            let seen = self.answers();
            let both = seen.two_holders(time(struck_us), time(now_us()));
            (both >= SHOWN).then_some(())
        });
        self.cluster.mend(struck);
        // What was taken away comes back with the next khavip.
        self.cluster.host(&holder).signal("khavip", Signal::TERM);
        self.settled();
        self.overlaps(struck_us, now_us())
    }

    /// Waits until one host has answered since the fault, and if that takes the VIP from its holder, until it is another
    /// one.
    #[track_caller]
    fn await_holder(&mut self, fault: Fault, before: &str, struck_us: u64) {
        until("a host answers for the VIP", SOON, || {
            let now = time(now_us());
            let from = now.saturating_sub(SILENT_AFTER).max(time(struck_us));
            let answers = self.answers();
            let fresh: Vec<_> = answers
                .between(from, now)
                .map(|span| span.mac.to_string())
                .collect();
            let mut answering = self
                .cluster
                .lab()
                .hosts()
                .iter()
                .filter(|host| fresh.contains(&host.layout().mac))
                .map(LabHost::name);
            let one = answering.next()?;
            let alone = answering.next().is_none();
            let wanted = fault.then() != Then::Moves || one != before;
            (alone && wanted).then_some(())
        });
    }

    /// Who answered between two moments, in the order in which they began.
    #[track_caller]
    fn turns(&mut self, from_us: u64, to_us: u64) -> Vec<Turn> {
        let answers = self.answers();
        let hosts = self.cluster.lab().hosts();
        let named = |mac: &str| {
            let host = hosts.iter().find(|host| host.layout().mac == mac);
            host.map_or(mac, LabHost::name).to_owned()
        };
        let mut turns: Vec<_> = answers
            .between(time(from_us), time(to_us))
            .map(|span| Turn {
                host: named(&span.mac.to_string()),
                from: span.from,
                to: span.to,
            })
            .collect();
        turns.sort_by_key(|turn| turn.from);
        turns
    }

    /// Waits until the client is served without a failure, by connections that it began from this moment on.
    #[track_caller]
    fn await_served(&mut self, from_us: u64) {
        until("the client is served", SOON, || {
            (self.probe.successes_in_a_row(from_us) >= SERVED).then_some(())
        });
    }

    #[track_caller]
    fn seen(&mut self, from_us: u64, to_us: u64) -> Seen {
        let counted = tally(&self.probe.samples(), SampleKind::Connect, from_us, to_us);
        Seen {
            outage: Duration::from_micros(counted.gap_us),
            lost: counted.failed,
            two_holders: self.answers().two_holders(time(from_us), time(to_us)),
        }
    }
}

fn time(us: u64) -> Duration {
    Duration::from_micros(us)
}

fn us(time: Duration) -> u64 {
    khactl_lab::measure::micros(time)
}
