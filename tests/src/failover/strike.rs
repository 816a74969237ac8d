//! Doing it: each fault on the lab's hosts, and its undoing.

use std::net::IpAddr;

use khactl_lab::measure::now_us;
use khactl_lab::{Cut, LabError, Signal, VIP};

use super::fault::Fault;
use crate::cluster::Cluster;
use crate::running::Running;
use crate::{SOON, until};

/// The agent first: it must not live to see the other one die.
const BOTH: [&str; 2] = ["khad", "khavip"];
const APISERVER: &str = "kube-apiserver";

/// Two for each core of the machine that CI has.
const BUSY_LOOPS: usize = 4;

/// A fault that was inflicted and is to be mended.
#[derive(Debug)]
#[must_use = "a fault that is not mended befalls the next trial too"]
pub struct Struck {
    fault: Fault,
    host: String,
    /// Just before it happened, in microseconds since boot.
    at_us: u64,
    /// The host's khavip before that.
    khavip: Option<Vec<u32>>,
    /// Of another voter that died too; none if none did.
    voter_back: Option<VoterBack>,
    /// What keeps the processors busy, until this is mended.
    load: Vec<Running>,
}

/// When the khavip that follows a voter's dead one was there, in microseconds since boot.
#[derive(Debug, Clone, Copy)]
pub(super) struct VoterBack {
    /// It answered at its socket.
    pub(super) answered_us: u64,
    /// It took part in the lease.
    pub(super) took_part_us: u64,
}

impl Struck {
    /// Just before it happened, in microseconds since boot.
    pub fn at_us(&self) -> u64 {
        self.at_us
    }

    /// When another voter that died too was back; none if none died.
    pub(super) fn voter_back(&self) -> Option<VoterBack> {
        self.voter_back
    }
}

impl Cluster {
    /// Inflicts a fault on a host.
    #[track_caller]
    pub fn strike(&self, fault: Fault, host: &str) -> Struck {
        let victim = self.host(host);
        let others: Vec<String> = self
            .names()
            .into_iter()
            .filter(|other| other != host)
            .collect();
        let from: Vec<_> = others.iter().map(|other| Cut::new(host, other)).collect();
        let to: Vec<_> = others.iter().map(|other| Cut::new(other, host)).collect();
        let both_ways: Vec<_> = from.iter().chain(&to).cloned().collect();
        let load = if fault == Fault::Transferred {
            self.busy_loops()
        } else {
            Vec::new()
        };
        let khavip = self.component_pids(host).remove("khavip");
        let voter = (fault == Fault::VoterRestarted).then(|| self.khavip_of(&others[0]));
        let at_us = now_us();
        match fault {
            Fault::KhadKilled => self.kill_agent(host),
            Fault::KhavipKilled => self.signalled(host, &["khavip"], Signal::KILL),
            Fault::BothKilled => self.signalled(host, &BOTH, Signal::KILL),
            Fault::BothStopped => self.signalled(host, &BOTH, Signal::STOP),
            Fault::ApiserverKilled => self.signalled(host, &[APISERVER], Signal::KILL),
            Fault::ApiserverHung => self.signalled(host, &[APISERVER], Signal::STOP),
            Fault::KhavipEnded => self.signalled(host, &["khavip"], Signal::TERM),
            Fault::Transferred => {
                self.khactl(host, &["vip", "transfer", &others[0]]).ok();
            }
            Fault::CutOff => done(self.lab().cut_each(&both_ways)),
            Fault::ReceivingOnly => done(self.lab().cut_each(&from)),
            Fault::SendingOnly => done(self.lab().cut_each(&to)),
            Fault::AddressDeleted => done(victim.remove_address(IpAddr::V4(VIP))),
            Fault::HostLost => done(victim.kill()),
            Fault::HostShutDown => done(victim.stop(SOON)),
            Fault::VoterRestarted => {
                done(self.lab().cut_each(&both_ways));
                self.signalled(&others[0], &["khavip"], Signal::KILL);
            }
        }
        let voter_back = voter.map(|before| self.await_other_khavip(&others[0], before));
        Struck {
            fault,
            host: host.to_owned(),
            at_us,
            khavip,
            voter_back,
            load,
        }
    }

    /// Undoes what does not mend itself.
    #[track_caller]
    pub fn mend(&self, struck: Struck) {
        let host = &struck.host;
        match struck.fault {
            Fault::KhadKilled => self.start_agent(host),
            Fault::BothKilled => {
                until(&format!("khad of {host} is gone"), SOON, || {
                    self.host(host)
                        .processes_named("khad")
                        .is_empty()
                        .then_some(())
                });
                self.start_agent(host);
            }
            Fault::BothStopped => self.signalled(host, &BOTH, Signal::CONT),
            // The agent may have replaced it by now; then there is nobody to go on.
            Fault::ApiserverHung => drop(self.host(host).signal(APISERVER, Signal::CONT)),
            Fault::CutOff | Fault::ReceivingOnly | Fault::SendingOnly | Fault::VoterRestarted => {
                done(self.lab().heal_all());
            }
            Fault::HostLost | Fault::HostShutDown => done(self.host(host).start()),
            // It serves its clients' short requests to their end before it goes; until then it looks like one that stays.
            Fault::KhavipEnded => until(&format!("{host} has another khavip"), SOON, || {
                let now = self.component_pids(host).remove("khavip");
                (now.is_some() && now != struck.khavip).then_some(())
            }),
            Fault::KhavipKilled
            | Fault::Transferred
            | Fault::ApiserverKilled
            | Fault::AddressDeleted => {}
        }
        for busy in struck.load {
            busy.kill();
        }
    }

    /// The khavip that answers at a host's socket, as the host numbers it.
    #[track_caller]
    fn khavip_of(&self, host: &str) -> u32 {
        until(&format!("khavip of {host} answers"), SOON, || {
            Some(self.vip_status(host)?.pid)
        })
    }

    /// Waits until another khavip than this one takes part in the lease.
    #[track_caller]
    fn await_other_khavip(&self, host: &str, before: u32) -> VoterBack {
        let mut answered_us = None;
        until(
            &format!("another khavip of {host} takes part"),
            SOON,
            || {
                let status = self.vip_status(host)?;
                if status.pid == before {
                    return None;
                }
                let answered_us = *answered_us.get_or_insert_with(now_us);
                status.lease?.running.then(|| VoterBack {
                    answered_us,
                    took_part_us: now_us(),
                })
            },
        )
    }

    /// More than the machine has cores.
    #[track_caller]
    fn busy_loops(&self) -> Vec<Running> {
        (0..BUSY_LOOPS)
            .map(|_| self.start("client", "sh", &["-c", "while :; do :; done"]))
            .collect()
    }

    #[track_caller]
    fn signalled(&self, host: &str, programs: &[&str], signal: Signal) {
        let found = self.host(host).signal_each(programs, signal);
        assert!(
            found >= programs.len(),
            "{host} does not run all of {programs:?}"
        );
    }
}

#[track_caller]
fn done(result: Result<(), LabError>) {
    if let Err(error) = result {
        panic!("{error}");
    }
}
