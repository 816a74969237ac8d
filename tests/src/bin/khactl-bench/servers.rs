//! API servers that fail: how long a killed one is out of service, beside a bare start of the same program by hand, and
//! how soon one that hangs is left by the balancers and started anew.

use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use khactl_lab::measure::now_us;
use khactl_lab::{LabHost, Process, Signal};
use khactl_model::facts::STABLE_MS;
use khactl_tests::{Cluster, LONG, Random, SOON, until};

use crate::by_hand::ByHand;
use crate::components::{LEADERS, host_of};
use crate::figure::{Figure, Target, Unit};
use crate::holders::Holders;
use crate::milestone::{Milestone, authorities_of, seconds_between};
use crate::process::age;

const SERVER: &str = "kube-apiserver";

/// Twice the period of the balancers' checks: nobody who looks is met at the same point of his round twice.
const PERIOD: Duration = Duration::from_secs(1);

const STABLE: Duration = Duration::from_millis(STABLE_MS);

const BACK_RATIO_MAX: f64 = 1.2;
const LEFT_SECONDS_MAX: f64 = 1.5;
const RESTARTED_SECONDS_MAX: f64 = 15.0;

/// Seconds, over all rounds.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    /// From the SIGKILL until it is ready.
    killed: Vec<f64>,
    /// From the start by hand until it is ready.
    bare: Vec<f64>,
    /// From the SIGSTOP until no balancer calls it healthy.
    left: Vec<f64>,
    /// … until another process runs.
    restarted: Vec<f64>,
    /// … until that one is ready.
    back: Vec<f64>,
}

impl Servers {
    /// One is killed, another one hangs; returns when all is well again.
    pub(crate) fn by_khactl(
        &mut self,
        cluster: &Cluster,
        round: usize,
        random: &mut Random,
    ) -> anyhow::Result<()> {
        let host = in_turn(cluster, round)?;
        await_whole(cluster);
        await_stable(&the_one(host)?);
        thread::sleep(random.below(PERIOD));
        let killed_us = kill(host)?;
        let ready_us = ready(cluster, host)?;
        self.killed.push(seconds_between(killed_us, ready_us));

        // The one whose turn to be killed is farthest away.
        let host = in_turn(cluster, round + 2)?;
        await_whole(cluster);
        let before = the_one(host)?;
        thread::sleep(random.below(PERIOD));
        let hung_us = now_us();
        before.signal(Signal::STOP);
        let since = |us| seconds_between(hung_us, us);
        let doing = format!("no balancer uses the API server of {}", host.name());
        let left_us = until(&doing, SOON, || is_left(cluster, host).then(now_us));
        self.left.push(since(left_us));
        let doing = format!("{} has another API server", host.name());
        let restarted_us = until(&doing, SOON, || {
            let now = the_one(host).ok()?;
            (now.pid != before.pid).then(now_us)
        });
        self.restarted.push(since(restarted_us));
        self.back.push(since(ready(cluster, host)?));
        await_whole(cluster);
        Ok(())
    }

    /// One is killed and started again at once.
    pub(crate) fn by_hand(&mut self, hosts: &mut ByHand<'_>) -> anyhow::Result<()> {
        let host = leading_nothing(hosts.cluster())?.clone();
        kill(&host)?;
        let began_us = now_us();
        hosts.start_on(host.name(), SERVER)?;
        let ready_us = ready(hosts.cluster(), &host)?;
        self.bare.push(seconds_between(began_us, ready_us));
        Ok(())
    }

    pub(crate) fn figures(self) -> Vec<Figure> {
        let seconds = |name, values| Figure::new(name, Unit::Seconds, values);
        vec![
            seconds("API server killed: in service again", self.killed)
                .beside(self.bare)
                .target(Target::RatioMax(BACK_RATIO_MAX)),
            seconds("API server hung: out of all balancers", self.left)
                .target(Target::ValueMax(LEFT_SECONDS_MAX)),
            seconds("API server hung: restarted", self.restarted)
                .target(Target::ValueMax(RESTARTED_SECONDS_MAX)),
            seconds("  in service again", self.back),
        ]
    }
}

/// Another host in every round.
fn in_turn(cluster: &Cluster, round: usize) -> anyhow::Result<&LabHost> {
    let hosts = cluster.lab().hosts();
    hosts
        .get(round % hosts.len().max(1))
        .context("there are no hosts")
}

/// A host none of whose components leads: one that leads ends when it misses its API server for too long, and by hand
/// nobody starts it again.
fn leading_nothing(cluster: &Cluster) -> anyhow::Result<&LabHost> {
    let hosts = cluster.lab().hosts();
    let first = hosts.first().context("there are no hosts")?;
    let mut leaders = Vec::new();
    for component in LEADERS {
        leaders.push(Holders::watch(first, component)?.holder());
    }
    hosts
        .iter()
        .find(|host| leaders.iter().all(|leader| host_of(leader) != host.name()))
        .context("every host leads")
}

/// The only API server of a host.
fn the_one(host: &LabHost) -> anyhow::Result<Process> {
    let mut found = host.processes_named(SERVER);
    ensure!(
        found.len() == 1,
        "{} runs {} API servers",
        host.name(),
        found.len()
    );
    Ok(found.remove(0))
}

/// Waits until its end is none that delays the next start: a program that ends soon after its start does not get
/// another one at once, and is not what is measured.
fn await_stable(process: &Process) {
    until("the API server has run for a minute", SOON, || {
        (age(process.pid).ok()? >= STABLE).then_some(())
    });
}

/// SIGKILL; returns when it is gone. Gives the moment before.
fn kill(host: &LabHost) -> anyhow::Result<u64> {
    let process = the_one(host)?;
    let at_us = now_us();
    process.signal(Signal::KILL);
    until("the API server is gone", SOON, || {
        (!process.is_running()).then_some(())
    });
    Ok(at_us)
}

/// When a host's own API server is ready; waits for it.
fn ready(cluster: &Cluster, host: &LabHost) -> anyhow::Result<u64> {
    Milestone::api(cluster.lab().client(), host.address(), authorities_of(host))?.at_us()
}

/// Whether every balancer has given up a host's API server.
fn is_left(cluster: &Cluster, host: &LabHost) -> bool {
    cluster.names().iter().all(|balancer| {
        cluster.vip_status(balancer).is_some_and(|status| {
            let mut backends = status.backends.iter();
            backends.any(|backend| backend.host == host.name() && !backend.healthy)
        })
    })
}

/// Waits until all hosts are ready and every balancer uses every API server.
fn await_whole(cluster: &Cluster) {
    let names = cluster.names();
    cluster.await_ready(names.len());
    until("every balancer uses every API server", LONG, || {
        let uses_all = |host: &String| {
            let status = cluster.vip_status(host)?;
            let healthy = status.backends.iter().filter(|backend| backend.healthy);
            (healthy.count() == names.len()).then_some(())
        };
        names.iter().try_for_each(uses_all)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_judged_beside_the_bare_start_and_a_hang_by_its_time() {
        let servers = Servers {
            killed: vec![4.8, 4.9],
            bare: vec![4.1, 4.2],
            left: vec![1.1, 1.6],
            ..Servers::default()
        };
        let met: Vec<_> = servers.figures().iter().map(|figure| figure.met).collect();
        assert_eq!(met, [Some(true), Some(false), None, None]);
    }
}
