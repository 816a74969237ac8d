//! Carries the scheduled trials out on a cluster.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use khactl_lab::measure::{micros, now_us};
use khactl_lab::oracle::{Oracle, Overlap};
use khactl_tests::{Cluster, LONG, Probe, Random, SOON, until};

use crate::contender::Contender;
use crate::fault::Fault;
use crate::journal::Journal;
use crate::keepalived::Keepalived;
use crate::khactl::Khactl;
use crate::schedule::{Block, Round};
use crate::side::Side;
use crate::trial::{Trial, Watched};

const HOSTS: usize = 3;

/// Where a host's own programs ask.
const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 6443);

/// Answers in a row that mean that the client is served.
const SERVED: usize = 50;

/// The longest period of anything of keepalived's that checks or advertises.
const KEEPALIVED_PHASE: Duration = Duration::from_secs(1);

/// The longest of khactl's: the checks of its balancer.
const KHACTL_PHASE: Duration = Duration::from_millis(500);

/// Samples from before a fault that are kept: the outage begins at the last answer before it.
const KEPT: Duration = Duration::from_secs(1);

/// Makes a cluster and the block's trials on it; begins no round after `end_us` since boot.
pub(crate) fn run(
    block: &Block,
    journal: &mut Journal,
    random: &mut Random,
    end_us: u64,
) -> anyhow::Result<()> {
    let cluster = Cluster::boot("benchvip", HOSTS);
    cluster.form(&cluster.spec().profile(block.profile.word()));
    for round in &block.rounds {
        if now_us() >= end_us {
            break;
        }
        let names: Vec<_> = round.contenders.iter().map(|one| one.name()).collect();
        cluster.step(&format!("round {}: {}", round.number, names.join("; ")));
        if round.contenders.iter().all(|one| one.is_khactl()) {
            let mut side = Khactl::new(&cluster, block.profile);
            run_round(&cluster, &mut side, round, journal, random)?;
        } else {
            let mut side = Keepalived::up(&cluster, &round.contenders)?;
            run_round(&cluster, &mut side, round, journal, random)?;
        }
    }
    Ok(())
}

fn run_round(
    cluster: &Cluster,
    side: &mut dyn Side,
    round: &Round,
    journal: &mut Journal,
    random: &mut Random,
) -> anyhow::Result<()> {
    let vips: Vec<_> = round
        .contenders
        .iter()
        .map(|contender| IpAddr::V4(contender.vip()))
        .collect();
    let mut watch = Watch {
        cluster,
        probes: Vec::new(),
        oracle: Oracle::start(cluster.lab(), &vips)?,
    };
    for contender in &round.contenders {
        let probe = Probe::start(cluster.lab().client(), contender.target())?;
        watch.probes.push((*contender, probe));
    }
    for fault in &round.faults {
        for trial in conduct(side, *fault, round.number, &mut watch, random)? {
            eprintln!("  {trial}");
            journal.add(trial)?;
        }
    }
    Ok(())
}

/// Who looks from outside.
struct Watch<'a> {
    cluster: &'a Cluster,
    probes: Vec<(Contender, Probe)>,
    oracle: Oracle,
}

impl Watch<'_> {
    /// Lets a client on this host ask at 127.0.0.1 in place of those who ask from outside, which it gives back.
    fn look_from(&mut self, host: &str) -> anyhow::Result<Vec<(Contender, Probe)>> {
        let mut inside = Vec::new();
        for (contender, _) in &self.probes {
            let probe = Probe::start(self.cluster.host(host), SocketAddr::from(LOOPBACK))?;
            inside.push((*contender, probe));
        }
        Ok(std::mem::replace(&mut self.probes, inside))
    }

    /// Waits until every client is served, by tries that begin from now on.
    fn await_served(&mut self) -> anyhow::Result<()> {
        let from_us = now_us();
        for (contender, probe) in &mut self.probes {
            until(
                &format!("the client of {} is served", contender.name()),
                SOON,
                || (probe.successes_in_a_row(from_us) >= SERVED).then_some(()),
            );
            probe.check()?;
        }
        Ok(())
    }

    fn forget(&self) {
        let before_us = now_us().saturating_sub(micros(KEPT));
        for (_, probe) in &self.probes {
            probe.forget_before(before_us);
        }
    }

    /// What happened between these moments, in microseconds since boot.
    fn between(&self, from_us: u64, to_us: u64) -> anyhow::Result<Vec<Watched>> {
        let at = Duration::from_micros;
        let overlaps = self.oracle.answers()?.overlaps(at(from_us), at(to_us));
        Ok(self
            .probes
            .iter()
            .map(|(contender, probe)| {
                let twice_us = two_holders_us(&overlaps, *contender);
                Watched::between(&probe.samples(), from_us, to_us, twice_us)
            })
            .collect())
    }
}

/// One fault from its beginning until all is as it was; a trial for each who met it.
fn conduct(
    side: &mut dyn Side,
    fault: Fault,
    round: usize,
    watch: &mut Watch<'_>,
    random: &mut Random,
) -> anyhow::Result<Vec<Trial>> {
    let holder = settle(side, watch)?;
    let outside = if fault.is_seen_by_loopback() {
        let outside = watch.look_from(&holder)?;
        watch.await_served()?;
        Some(outside)
    } else {
        None
    };
    let khactl = side.contenders().iter().all(|one| one.is_khactl());
    watch.forget();
    let phase = if khactl {
        KHACTL_PHASE
    } else {
        KEEPALIVED_PHASE
    };
    let settled_us = now_us();
    thread::sleep(random.below(phase));

    let began_us = now_us();
    side.inflict(fault, &holder)?;
    let lasted = Duration::from_micros(now_us().saturating_sub(began_us));
    thread::sleep(fault.lasts(khactl).saturating_sub(lasted));
    if !fault.ends_on_time() {
        watch.await_served()?;
    }
    let undone_us = now_us();
    side.undo(fault, &holder)?;
    settle(side, watch)?;
    let over_us = now_us();

    let before = watch.between(settled_us, began_us)?;
    let during = watch.between(began_us, undone_us)?;
    let after = watch.between(undone_us, over_us)?;
    if let Some(outside) = outside {
        watch.probes = outside;
    }
    let contenders = side.contenders().iter().copied();
    Ok(contenders
        .zip(before)
        .zip(during)
        .zip(after)
        .map(|(((contender, before), during), after)| Trial {
            contender,
            fault,
            round,
            before,
            during,
            after,
        })
        .collect())
}

/// Waits until all is well, and the clients have it too.
fn settle(side: &dyn Side, watch: &mut Watch<'_>) -> anyhow::Result<String> {
    let holder = until(
        "one host holds and all others could take over",
        LONG,
        || side.settled(),
    );
    watch.await_served()?;
    Ok(holder)
}

/// For how long two hosts answered for a contender's address.
fn two_holders_us(overlaps: &[Overlap], contender: Contender) -> u64 {
    let vip = IpAddr::V4(contender.vip());
    let mut total = Duration::ZERO;
    let mut counted = Duration::ZERO;
    // In the order of their beginnings: what two overlaps share counts once.
    for overlap in overlaps.iter().filter(|overlap| overlap.vip == vip) {
        total += overlap.to.saturating_sub(overlap.from.max(counted));
        counted = counted.max(overlap.to);
    }
    micros(total)
}
