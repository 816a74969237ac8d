//! How long nobody leads: a leading controller-manager or scheduler is killed, or its host loses power. Beside it the
//! same programs by hand with the times of upstream. On the same clusters, API servers that fail.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use khactl_lab::Signal;
use khactl_lab::measure::now_us;
use khactl_tests::{Cluster, Random};

use crate::by_hand::ByHand;
use crate::figure::{Figure, Target, Unit};
use crate::forming::Values;
use crate::holders::Holders;
use crate::milestone::seconds_between;
use crate::recipe::Recipe;
use crate::servers::Servers;

const HOSTS: usize = 3;
pub(crate) const LEADERS: [&str; 2] = ["kube-controller-manager", "kube-scheduler"];
/// The longest period between two renewals: no two leaders are met at the same point of it.
const PERIOD: Duration = Duration::from_secs(2);

/// What ends a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// SIGKILL.
    Killed,
    /// Its host loses power.
    HostLost,
}

impl End {
    const ALL: [Self; 2] = [Self::Killed, Self::HostLost];

    fn name(self) -> &'static str {
        match self {
            Self::Killed => "another leads: process killed",
            Self::HostLost => "another leads: host lost",
        }
    }

    fn seconds_max(self) -> f64 {
        match self {
            Self::Killed => 1.5,
            Self::HostLost => 2.5,
        }
    }
}

/// Seconds by component and end.
type Seconds = BTreeMap<(&'static str, End), Vec<f64>>;

/// What the rounds gave so far.
#[derive(Debug, Default)]
pub(crate) struct Takeovers {
    khactl: Seconds,
    by_hand: Seconds,
    servers: Servers,
}

impl Takeovers {
    /// So many ends of each kind for each component, and of API servers, by khactl and by hand.
    pub(crate) fn measure(&mut self, rounds: usize) -> anyhow::Result<()> {
        let mut random = Random::seeded();
        let mut recipes = Vec::new();
        let cluster = Cluster::up("bench", HOSTS);
        for name in cluster.names() {
            recipes.push(Recipe::of(&cluster, &name)?.with_upstream_election());
        }
        for round in 1..=rounds {
            eprintln!("API servers, round {round} of {rounds}: khactl");
            self.servers.by_khactl(&cluster, round, &mut random)?;
        }
        for (round, component, end) in every(rounds) {
            eprintln!("takeovers, round {round} of {rounds}: {component}, khactl");
            let (host, seconds) = ended(&cluster, component, end, &mut random)?;
            self.khactl
                .entry((component, end))
                .or_default()
                .push(seconds);
            cluster.host(&host).start()?;
            cluster.await_ready(HOSTS);
        }
        drop(cluster);

        let mut hosts = ByHand::boot(&recipes)?;
        hosts.init(&mut Values::default())?;
        for place in 1..HOSTS {
            hosts.join(place, &mut Values::default())?;
        }
        for round in 1..=rounds {
            eprintln!("API servers, round {round} of {rounds}: by hand");
            self.servers.by_hand(&mut hosts)?;
        }
        for (round, component, end) in every(rounds) {
            eprintln!("takeovers, round {round} of {rounds}: {component}, by hand");
            let (host, seconds) = ended(hosts.cluster(), component, end, &mut random)?;
            self.by_hand
                .entry((component, end))
                .or_default()
                .push(seconds);
            match end {
                End::Killed => hosts.start_on(&host, component)?,
                End::HostLost => hosts.revive(&host)?,
            }
        }
        Ok(())
    }

    pub(crate) fn figures(mut self) -> Vec<Figure> {
        let mut figures = Vec::new();
        for component in LEADERS {
            for end in End::ALL {
                let take =
                    |seconds: &mut Seconds| seconds.remove(&(component, end)).unwrap_or_default();
                let name = format!("{}: {}", component.trim_start_matches("kube-"), end.name());
                let figure = Figure::new(&name, Unit::Seconds, take(&mut self.khactl))
                    .beside(take(&mut self.by_hand))
                    .target(Target::ValueMax(end.seconds_max()));
                figures.push(figure);
            }
        }
        figures.extend(self.servers.figures());
        figures
    }
}

fn every(rounds: usize) -> impl Iterator<Item = (usize, &'static str, End)> {
    let kinds = || {
        LEADERS
            .into_iter()
            .flat_map(|component| End::ALL.map(|end| (component, end)))
    };
    (1..=rounds).flat_map(move |round| kinds().map(move |(name, end)| (round, name, end)))
}

/// Ends the leader; gives its host, and the seconds until another led.
fn ended(
    cluster: &Cluster,
    component: &str,
    end: End,
    random: &mut Random,
) -> anyhow::Result<(String, f64)> {
    let names = cluster.names();
    let first = Holders::watch(cluster.host(&names[0]), component)?.holder();
    // Somebody who stays looks.
    let stays = names
        .iter()
        .find(|name| **name != host_of(&first))
        .context("there is one host alone")?;
    let holders = Holders::watch(cluster.host(stays), component)?;
    thread::sleep(random.below(PERIOD));
    let before = holders.holder();
    anyhow::ensure!(host_of(&before) != stays, "{before} leads since a moment");
    let host = host_of(&before).to_owned();
    let began_us = now_us();
    match end {
        End::Killed => {
            let killed = cluster.host(&host).signal(component, Signal::KILL);
            anyhow::ensure!(killed == 1, "{host} runs {killed} of {component}");
        }
        End::HostLost => cluster.host(&host).kill()?,
    }
    Ok((
        host,
        seconds_between(began_us, holders.another_at_us(&before)),
    ))
}

/// The host of who is named in a Lease.
pub(crate) fn host_of(identity: &str) -> &str {
    identity.split('_').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_ends_every_leader_in_every_way() {
        assert_eq!(every(2).count(), 8);
        assert_eq!(every(1).next(), Some((1, LEADERS[0], End::Killed)));
    }

    #[test]
    fn figures_are_given_for_every_leader_and_end_also_without_values() {
        let mut takeovers = Takeovers::default();
        let key = (LEADERS[0], End::Killed);
        takeovers.khactl.insert(key, vec![1.0]);
        takeovers.by_hand.insert(key, vec![16.0]);
        let figures = takeovers.figures();
        assert_eq!(figures.len(), 4 + 4);
        assert_eq!(
            figures[0].name,
            "controller-manager: another leads: process killed"
        );
        assert_eq!(figures[0].met, Some(true));
        assert_eq!(figures[1].met, None);
    }

    #[test]
    fn a_host_is_known_by_its_leaders_identity() {
        assert_eq!(host_of("cp2_3c0e-11"), "cp2");
    }
}
