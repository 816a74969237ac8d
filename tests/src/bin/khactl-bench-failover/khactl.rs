//! khactl's side: faults of khad, khavip and what they run.

use std::net::IpAddr;

use anyhow::{Context, ensure};
use khactl_lab::{Signal, VIP};
use khactl_tests::{Cluster, SOON};

use crate::contender::Contender;
use crate::fault::Fault;
use crate::side::Side;
use crate::wires;

const PROGRAMS: [&str; 2] = ["khad", "khavip"];

/// A cluster of one profile.
#[derive(Debug)]
pub(crate) struct Khactl<'a> {
    cluster: &'a Cluster,
    profile: [Contender; 1],
}

impl<'a> Khactl<'a> {
    pub(crate) fn new(cluster: &'a Cluster, profile: Contender) -> Self {
        Self {
            cluster,
            profile: [profile],
        }
    }

    fn signal(&self, holder: &str, program: &str, signal: Signal) -> anyhow::Result<()> {
        let host = self.cluster.host(holder);
        ensure!(
            host.signal(program, signal) > 0,
            "{holder} runs no {program}"
        );
        Ok(())
    }

    fn transfer(&self, holder: &str) -> anyhow::Result<()> {
        let names = self.cluster.names();
        let at = names.iter().position(|name| name == holder);
        let next = at.map_or(0, |at| (at + 1) % names.len());
        let told = self.cluster.start(
            holder,
            "khactl",
            &["-o", "json", "vip", "transfer", &names[next]],
        );
        let outcome = told.wait(SOON);
        ensure!(outcome.is_ok(), "{outcome}");
        Ok(())
    }
}

/// All apiservers are healthy, and any host could take the lease over now.
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

impl Side for Khactl<'_> {
    fn contenders(&self) -> &[Contender] {
        &self.profile
    }

    fn settled(&self) -> Option<String> {
        let holder = whole(self.cluster)?;
        // The agents have a leader; whoever it is.
        self.cluster.leaders_status()?;
        let addresses = self.cluster.host(&holder).addresses().ok()?;
        addresses.contains(&IpAddr::V4(VIP)).then_some(holder)
    }

    fn inflict(&mut self, fault: Fault, holder: &str) -> anyhow::Result<()> {
        match fault {
            Fault::CutOff | Fault::HearsNothing | Fault::SaysNothing => {
                wires::cut(self.cluster, fault, holder)
            }
            Fault::Stopped => PROGRAMS
                .iter()
                .try_for_each(|program| self.signal(holder, program, Signal::STOP)),
            Fault::Killed => PROGRAMS
                .iter()
                .try_for_each(|program| self.signal(holder, program, Signal::KILL)),
            Fault::KhadKilled => self.signal(holder, "khad", Signal::KILL),
            Fault::KhavipKilled => self.signal(holder, "khavip", Signal::KILL),
            Fault::OrderlyStop => self.signal(holder, "khavip", Signal::TERM),
            Fault::Transfer => self.transfer(holder),
            Fault::ApiserverKilled => self.signal(holder, "kube-apiserver", Signal::KILL),
            Fault::HostLost => Ok(self.cluster.lab().kill(holder)?),
        }
    }

    fn undo(&mut self, fault: Fault, holder: &str) -> anyhow::Result<()> {
        let lab = self.cluster.lab();
        match fault {
            Fault::CutOff | Fault::HearsNothing | Fault::SaysNothing => Ok(lab.heal(holder)?),
            Fault::Stopped => PROGRAMS
                .iter()
                .try_for_each(|program| self.signal(holder, program, Signal::CONT)),
            Fault::Killed | Fault::KhadKilled => {
                let host = lab.host(holder)?;
                khactl_tests::until(&format!("khad of {holder} is dead"), SOON, || {
                    host.processes_named("khad").is_empty().then_some(())
                });
                Ok(host.start_agent()?)
            }
            // khad starts again what ends.
            Fault::KhavipKilled | Fault::OrderlyStop | Fault::Transfer | Fault::ApiserverKilled => {
                Ok(())
            }
            Fault::HostLost => lab
                .start(holder)
                .with_context(|| format!("{holder} does not come back")),
        }
    }
}
