//! khactl's side: faults of khad, khavip and what they run, inflicted as the end-to-end tests do it.

use std::net::IpAddr;

use anyhow::{Context, ensure};
use khactl_lab::VIP;
use khactl_tests::failover::{self, Struck};
use khactl_tests::{Cluster, SOON};

use crate::contender::Contender;
use crate::fault::Fault;
use crate::side::Side;

/// A cluster of one profile.
#[derive(Debug)]
pub(crate) struct Khactl<'a> {
    cluster: &'a Cluster,
    profile: [Contender; 1],
    /// What was inflicted and is not undone yet.
    struck: Option<Struck>,
}

impl<'a> Khactl<'a> {
    pub(crate) fn new(cluster: &'a Cluster, profile: Contender) -> Self {
        Self {
            cluster,
            profile: [profile],
            struck: None,
        }
    }

    /// To the next host, while nothing else happens.
    fn transfer(&self, holder: &str) -> anyhow::Result<()> {
        let names = self.cluster.names();
        let at = names.iter().position(|name| name == holder);
        let next = at
            .and_then(|at| names.get((at + 1) % names.len()))
            .with_context(|| format!("there is no host {holder}"))?;
        let transfer = ["-o", "json", "vip", "transfer", next];
        let outcome = self.cluster.start(holder, "khactl", &transfer).wait(SOON);
        ensure!(outcome.is_ok(), "{outcome}");
        Ok(())
    }
}

/// All apiservers are healthy, and any host could take the lease over now. Gives the holder.
pub(crate) fn whole(cluster: &Cluster) -> Option<String> {
    let names = cluster.names();
    let holder = cluster.whole_lease(names.len())?;
    let served = names.iter().all(|host| {
        cluster
            .vip_status(host)
            .is_some_and(|status| status.backends.iter().all(|backend| backend.healthy))
    });
    served.then_some(holder)
}

/// What the tests call it; none for what they do differently: they load the machine during a transfer.
fn in_the_tests(fault: Fault) -> Option<failover::Fault> {
    Some(match fault {
        Fault::CutOff => failover::Fault::CutOff,
        Fault::HearsNothing => failover::Fault::SendingOnly,
        Fault::SaysNothing => failover::Fault::ReceivingOnly,
        Fault::Stopped => failover::Fault::BothStopped,
        Fault::Killed => failover::Fault::BothKilled,
        Fault::KhadKilled => failover::Fault::KhadKilled,
        Fault::KhavipKilled => failover::Fault::KhavipKilled,
        Fault::OrderlyStop => failover::Fault::KhavipEnded,
        Fault::AddressDeleted => failover::Fault::AddressDeleted,
        Fault::ApiserverHung => failover::Fault::ApiserverHung,
        Fault::ApiserverKilled | Fault::ApiserverKilledLoopback => failover::Fault::ApiserverKilled,
        Fault::HostLost => failover::Fault::HostLost,
        Fault::Transfer => return None,
    })
}

impl Side for Khactl<'_> {
    fn contenders(&self) -> &[Contender] {
        &self.profile
    }

    fn settled(&self) -> Option<String> {
        let holder = whole(self.cluster)?;
        let addresses = self.cluster.host(&holder).addresses().ok()?;
        addresses.contains(&IpAddr::V4(VIP)).then_some(holder)
    }

    fn inflict(&mut self, fault: Fault, holder: &str) -> anyhow::Result<()> {
        match in_the_tests(fault) {
            Some(fault) => self.struck = Some(self.cluster.strike(fault, holder)),
            None => self.transfer(holder)?,
        }
        Ok(())
    }

    fn undo(&mut self, _fault: Fault, _holder: &str) -> anyhow::Result<()> {
        if let Some(struck) = self.struck.take() {
            self.cluster.mend(struck);
        }
        Ok(())
    }
}
