//! keepalived's side: its daemons, and haproxy and the watcher where a configuration needs them, on the hosts
//! of a khactl cluster whose apiservers they serve.
//!
//! The cluster's own khavip keeps running, because khad needs it, and idles: no client asks its VIP meanwhile.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Stdio;

use anyhow::{Context, bail, ensure};
use khactl_lab::{LabHost, Signal};
use khactl_tests::{Cluster, LONG, SOON, until};

use crate::contender::Contender;
use crate::fault::Fault;
use crate::khactl::whole;
use crate::recipe::{self, Place, RUN_DIR};
use crate::side::Side;
use crate::{watcher, wires};

/// The host of the highest priority.
const MASTER: &str = "cp1";

/// What is started on a host, by the names of their processes.
const PROGRAMS: [&str; 3] = ["keepalived", "haproxy", watcher::NAME];

/// Running daemons. Dropped, they end.
#[derive(Debug)]
pub(crate) struct Keepalived<'a> {
    cluster: &'a Cluster,
    contenders: Vec<Contender>,
}

impl<'a> Keepalived<'a> {
    /// Starts what these contenders need on every host.
    pub(crate) fn up(cluster: &'a Cluster, contenders: &[Contender]) -> anyhow::Result<Self> {
        let side = Self {
            cluster,
            contenders: contenders.to_vec(),
        };
        for place in side.places() {
            side.prepare(place)?;
        }
        for place in side.places() {
            side.start_daemons(place)?;
        }
        Ok(side)
    }

    /// One for each host.
    fn places(&self) -> Vec<Place> {
        (0..)
            .zip(self.cluster.lab().hosts())
            .map(|(number, host)| Place {
                number,
                address: host.address(),
            })
            .collect()
    }

    fn place_of(&self, host: &str) -> anyhow::Result<Place> {
        let address = self.cluster.host(host).address();
        self.places()
            .into_iter()
            .find(|place| place.address == address)
            .with_context(|| format!("{host} has no place"))
    }

    fn host_at(&self, place: Place) -> &LabHost {
        &self.cluster.lab().hosts()[usize::from(place.number)]
    }

    /// Everything but keepalived: what it checks is there before it looks.
    fn prepare(&self, place: Place) -> anyhow::Result<()> {
        let host = self.host_at(place);
        let addresses: Vec<Ipv4Addr> = self.places().iter().map(|place| place.address).collect();
        write(host, "redirection.nft", &recipe::redirection(place.address))?;
        write(host, "haproxy.cfg", &recipe::haproxy(&addresses))?;
        for contender in &self.contenders {
            let name = format!("{}.conf", contender.word());
            write(host, &name, &recipe::keepalived(*contender, place))?;
        }
        shell(
            host,
            &format!("mkdir -p {RUN_DIR}; nft -f /etc/khactl/bench-redirection.nft"),
        )?;
        if self.contenders.contains(&Contender::KeepalivedHaproxy) {
            shell(
                host,
                &detached("proxy", "haproxy -db -f /etc/khactl/bench-haproxy.cfg"),
            )?;
        }
        if self.contenders.contains(&Contender::KeepalivedFastest) {
            let line = watcher::command_line(place.address)?;
            shell(host, &detached("watcher", &line))?;
        }
        Ok(())
    }

    fn start_daemons(&self, place: Place) -> anyhow::Result<()> {
        for contender in &self.contenders {
            let word = contender.word();
            // VRRP alone, without the part that balances.
            let line = format!(
                "keepalived --dont-fork --vrrp --log-console --use-file /etc/khactl/bench-{word}.conf \
                 --pid {RUN_DIR}/{word}.pid --vrrp_pid {RUN_DIR}/{word}-vrrp.pid"
            );
            shell(self.host_at(place), &detached(word, &line))?;
        }
        Ok(())
    }

    fn signal(&self, host: &str, signal: Signal) -> anyhow::Result<()> {
        ensure!(
            self.cluster.host(host).signal("keepalived", signal) > 0,
            "{host} runs no keepalived: see {}",
            self.cluster.host(host).log_dir().display()
        );
        Ok(())
    }

    fn signal_apiserver(&self, host: &str, signal: Signal) -> anyhow::Result<()> {
        ensure!(
            self.cluster.host(host).signal("kube-apiserver", signal) > 0,
            "{host} runs no kube-apiserver"
        );
        Ok(())
    }

    fn await_gone(&self, host: &str, programs: &[&str]) {
        let host = self.cluster.host(host);
        until(
            &format!("{programs:?} of {} ended", host.name()),
            SOON,
            || {
                programs
                    .iter()
                    .all(|program| host.processes_named(program).is_empty())
                    .then_some(())
            },
        );
    }
}

fn write(host: &LabHost, name: &str, text: &str) -> anyhow::Result<()> {
    let path = host.etc_dir().join(format!("bench-{name}"));
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn shell(host: &LabHost, script: &str) -> anyhow::Result<()> {
    let status = host
        .exec("sh")?
        .args(["-c", script])
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run sh on {}", host.name()))?;
    ensure!(status.success(), "on {}: {script}: {status}", host.name());
    Ok(())
}

/// Runs on when the shell has ended, with a log of its own.
fn detached(name: &str, line: &str) -> String {
    format!("setsid {line} </dev/null >>/var/log/khactl/bench-{name}.log 2>&1 &")
}

impl Side for Keepalived<'_> {
    fn contenders(&self) -> &[Contender] {
        &self.contenders
    }

    fn settled(&self) -> Option<String> {
        whole(self.cluster)?;
        for host in self.cluster.lab().hosts() {
            let addresses = host.addresses().ok()?;
            let as_wanted = self.contenders.iter().all(|contender| {
                addresses.contains(&IpAddr::V4(contender.vip())) == (host.name() == MASTER)
            });
            if !as_wanted {
                return None;
            }
        }
        Some(MASTER.to_owned())
    }

    fn inflict(&mut self, fault: Fault, holder: &str) -> anyhow::Result<()> {
        let host = self.cluster.host(holder);
        match fault {
            Fault::CutOff | Fault::HearsNothing | Fault::SaysNothing => {
                wires::cut(self.cluster, fault, holder)
            }
            Fault::Stopped => self.signal(holder, Signal::STOP),
            Fault::Killed => {
                // Its two processes at one instant: a child that sees its parent die cleans up.
                self.signal(holder, Signal::STOP)?;
                self.signal(holder, Signal::KILL)
            }
            Fault::OrderlyStop => self.signal(holder, Signal::TERM),
            Fault::AddressDeleted => {
                let removals: Vec<_> = self
                    .contenders
                    .iter()
                    .map(|contender| format!("ip addr del {}/24 dev eth0", contender.vip()))
                    .collect();
                shell(host, &removals.join(" && "))
            }
            Fault::ApiserverHung => self.signal_apiserver(holder, Signal::STOP),
            Fault::ApiserverKilled => {
                // Whoever supervises it takes longer than keepalived needs: so it stays dead meanwhile.
                host.signal("khad", Signal::STOP);
                self.signal_apiserver(holder, Signal::KILL)
            }
            Fault::HostLost => Ok(self.cluster.lab().kill(holder)?),
            Fault::KhadKilled
            | Fault::KhavipKilled
            | Fault::Transfer
            | Fault::ApiserverKilledLoopback => {
                bail!("{} is none of keepalived's faults", fault.name())
            }
        }
    }

    fn undo(&mut self, fault: Fault, holder: &str) -> anyhow::Result<()> {
        let lab = self.cluster.lab();
        match fault {
            Fault::CutOff | Fault::HearsNothing | Fault::SaysNothing => Ok(lab.heal(holder)?),
            Fault::Stopped => self.signal(holder, Signal::CONT),
            // Whatever it made of that: started anew it has the address as at the beginning.
            Fault::AddressDeleted => {
                self.signal(holder, Signal::TERM)?;
                self.await_gone(holder, &["keepalived"]);
                self.start_daemons(self.place_of(holder)?)
            }
            // khad may have replaced it by now; then there is nobody to go on.
            Fault::ApiserverHung => {
                lab.host(holder)?.signal("kube-apiserver", Signal::CONT);
                Ok(())
            }
            Fault::Killed | Fault::OrderlyStop => {
                self.await_gone(holder, &["keepalived"]);
                self.start_daemons(self.place_of(holder)?)
            }
            Fault::ApiserverKilled => {
                lab.host(holder)?.signal("khad", Signal::CONT);
                Ok(())
            }
            Fault::HostLost => {
                lab.start(holder)?;
                until(&format!("the apiserver of {holder} is ready"), LONG, || {
                    whole(self.cluster)
                });
                let place = self.place_of(holder)?;
                self.prepare(place)?;
                self.start_daemons(place)
            }
            Fault::KhadKilled
            | Fault::KhavipKilled
            | Fault::Transfer
            | Fault::ApiserverKilledLoopback => Ok(()),
        }
    }
}

impl Drop for Keepalived<'_> {
    fn drop(&mut self) {
        // What fails here goes with the lab.
        for host in self.cluster.lab().hosts() {
            for program in PROGRAMS {
                host.signal(program, Signal::CONT);
                host.signal(program, Signal::KILL);
            }
            let remove = self
                .contenders
                .iter()
                .map(|contender| format!("ip addr del {}/24 dev eth0", contender.vip()));
            let script: Vec<_> = remove
                .chain(["nft delete table ip bench".to_owned()])
                .collect();
            let _ = shell(host, &format!("({}) 2>/dev/null; true", script.join("; ")));
        }
    }
}
