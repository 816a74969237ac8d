//! Brings this process to what it was last fed, and keeps it there: the balancer, the lease with
//! its address, and the word between them that says whether this host can serve. What it was fed
//! lives in memory alone; a new process waits for khad.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use khactl_balancer::{Balancer, BalancerStatus, Parting};
use khactl_proto::v1;
use khactl_sys::clock::boottime;
use prost::Message;
use rustix::fs::statfs;
use tokio::sync::{Mutex, Notify};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::address::{Leftover, Netlink, Target, Vip, clear_neighbours, quiet_other_interfaces};
use crate::error::{VipError, chain};
use crate::feed::{Wanted, WantedLease};
use crate::fence::{FencedProcess, ProcessId};
use crate::gate::{Gate, GateStatus};
use crate::instance::{Instance, Purpose};
use crate::lease::LeaseStatus;
use crate::reason::Situation;

/// How long a hand-over that was asked for is waited for; the lease itself needs milliseconds.
const HAND_OVER: Duration = Duration::from_secs(3);

/// How long the lease thread may take to take over what it is to guard; it needs microseconds.
const GUARD: Duration = Duration::from_secs(1);

/// Longer than any shutdown takes.
const REST_MAX: Duration = Duration::from_mins(10);

/// How often what could not be done is tried again, and the lease thread is looked at.
const TICK: Duration = Duration::from_secs(1);

const NS_PER_MS: u64 = 1_000_000;

/// The process's one mind.
pub struct Control {
    run_dir: PathBuf,
    boot_id: [u8; 16],
    balancer: Balancer,
    leftover: Leftover,
    /// Rung when the instance was replaced, so that the loop watches the new one.
    attention: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    wanted: Option<Wanted>,
    digest: Vec<u8>,
    instance: Option<Instance>,
    /// The address stood here when it was last looked at.
    held: bool,
    /// How many processes the fence had ended when it was last looked at.
    fired: u64,
    /// The VIP's network is on no interface; it may be so for a moment only.
    displaced: bool,
    /// No process lives that a fence before the present one may have armed.
    disarmed: bool,
    /// Since the last feed, or the last try.
    problems: Vec<String>,
    /// What keeps this host from serving; empty if it is fit.
    unfit: Vec<String>,
    /// Until then, by `CLOCK_BOOTTIME`, this host was told not to take the VIP.
    rests_until: Duration,
    stopped: bool,
}

/// Everything that status tells, read at one moment.
pub struct Snapshot {
    /// Whether khad has fed this process, and with what (SHA-256 of the feed).
    pub digest: Option<Vec<u8>>,
    /// The lease, if it runs.
    pub lease: Option<LeaseStatus>,
    /// What was last told to the lease about serving.
    pub fit: bool,
    /// Why this host does not hold the VIP; empty if it does.
    pub reason: String,
    /// Names of the lease's members.
    pub names: BTreeMap<u64, String>,
    /// What the fenced processes are called.
    pub fenced: BTreeMap<ProcessId, String>,
    /// Per VIP: where it belongs, whether there is carrier, whether it stands there.
    pub addresses: Vec<AddressSnapshot>,
    /// The gate; none while there is no lease, or no interface for the VIP.
    pub gate: Option<GateStatus>,
    /// The balancer.
    pub balancer: BalancerStatus,
    /// What hinders, in words for the operator.
    pub problems: Vec<String>,
}

/// One VIP on this host.
pub struct AddressSnapshot {
    /// The address.
    pub address: IpAddr,
    /// Its interface; none while no interface fits.
    pub interface: Option<String>,
    /// The interface is up and has carrier.
    pub carrier: bool,
    /// The kernel has the address now.
    pub present: bool,
}

impl State {
    /// Something of the last feed could not be done, or the interface has changed under it.
    fn is_misplaced(&self) -> bool {
        !self.problems.is_empty()
            || self.instance.as_ref().is_some_and(|instance| {
                let targets = &instance.purpose.targets;
                instance.observed().borrow().is_out_of_place(targets)
            })
    }

    fn is_guarding(&self) -> bool {
        self.instance.as_ref().is_some_and(Instance::is_guarding)
    }
}

impl Control {
    /// Clears away what a predecessor left behind (rule P10), then waits to be fed.
    pub fn new(run_dir: PathBuf, boot_id: [u8; 16], balancer: Balancer) -> Result<Self, VipError> {
        // Where it cannot be, the new gate replaces the old one, or its deadline ends it.
        if let Err(error) = Gate::leftover() {
            tracing::warn!("{}", chain(&error));
        }
        let leftover = Leftover::new(&run_dir);
        leftover.clear()?;
        // Without the right to do so there are none of this program's making either.
        if let Err(error) = Netlink::open().and_then(|mut netlink| clear_neighbours(&mut netlink)) {
            tracing::warn!(%error, "neighbour entries that were left behind cannot be removed");
        }
        Ok(Self {
            run_dir,
            boot_id,
            balancer,
            leftover,
            attention: Notify::new(),
            state: Mutex::default(),
        })
    }

    /// Takes a feed over; gives back what hinders doing all of it.
    pub async fn feed(&self, fed: &v1::VipFeedRequest) -> Result<Vec<String>, VipError> {
        let wanted = Wanted::try_from(fed)?;
        let mut state = self.state.lock().await;
        let digest = digest(&SHA256, &fed.encode_to_vec()).as_ref().to_vec();
        if state.digest != digest {
            tracing::info!(epoch = fed.epoch, members = fed.members.len(), "fed anew");
        }
        state.digest = digest;
        state.wanted = Some(wanted);
        self.reconcile(&mut state).await;
        self.attention.notify_one();
        Ok(state.problems.clone())
    }

    /// Gives the VIP up in favour of `successor`; true if this host held it. For `rest` this host does not try to take
    /// it again.
    pub async fn hand_over(&self, successor: Option<u64>, rest: Duration) -> bool {
        // Until this returns nobody is served at the VIP here.
        let parting = {
            let mut state = self.state.lock().await;
            state.rests_until = boottime() + rest.min(REST_MAX);
            self.judge_fitness(&mut state);
            let instance = state.instance.as_ref();
            instance.filter(|i| i.status().holding).map(|instance| {
                let parting = self.part(instance);
                instance.hand_over(successor);
                parting
            })
        };
        let gone = async {
            while self.holds().await {
                sleep(Duration::from_millis(2)).await;
            }
        };
        let held = parting.is_some();
        if held && tokio::time::timeout(HAND_OVER, gone).await.is_err() {
            tracing::warn!("the VIP is still here after it was handed over");
        }
        held
    }

    /// Serves until the lease thread ends by itself, which is the process's end too.
    pub async fn tend(&self) -> VipError {
        let mut any_healthy = self.balancer.any_healthy();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // What changes after this look is news to the receiver made before it.
            let mut observed = {
                let mut state = self.state.lock().await;
                let observed = state.instance.as_ref().map(Instance::observed);
                if let Some(failure) = self.look(&mut state) {
                    return failure;
                }
                observed
            };
            let news = async {
                match &mut observed {
                    // An error says that the instance was replaced: the loop takes the new one.
                    Some(observed) => drop(observed.changed().await),
                    None => std::future::pending().await,
                }
            };
            let mut due = false;
            tokio::select! {
                _ = any_healthy.changed() => {}
                () = news => {}
                () = self.attention.notified() => {}
                _ = ticks.tick() => due = true,
            }
            let mut state = self.state.lock().await;
            // A gate at an interface that is gone cannot be mended, and holds nothing back.
            let gated = state.instance.as_ref().filter(|_| due && !state.displaced);
            if let Some(instance) = gated {
                instance.gate().mend();
            }
            if due && state.is_misplaced() {
                self.reconcile(&mut state).await;
            }
        }
    }

    /// Hands the VIP over for good. The lease thread goes on: while the balancer serves, what comes to the API through it
    /// stays guarded, and the others hear this host.
    pub async fn retire(&self) {
        self.state.lock().await.stopped = true;
        self.hand_over(None, REST_MAX).await;
    }

    /// Ends the lease. To be called when the balancer serves nobody any more.
    pub async fn stop(&self) {
        let mut state = self.state.lock().await;
        state.stopped = true;
        if let Some(instance) = state.instance.take() {
            self.end(instance).await;
        }
    }

    /// What there is to tell.
    pub async fn snapshot(&self) -> Snapshot {
        let state = self.state.lock().await;
        let balancer = self.balancer.status();
        let mut problems = state.problems.clone();
        problems.extend(balancer.problems.iter().cloned());
        let present = Netlink::open().and_then(|mut netlink| netlink.addresses());
        if let Err(error) = &present {
            problems.push(format!("addresses cannot be listed: {error}"));
        }
        let present = present.unwrap_or_default();
        let instance = state.instance.as_ref();
        if let Some(error) = instance.and_then(Instance::add_problem) {
            problems.push(chain(&error));
        }
        let lease = instance.map(Instance::status);
        if let Some(lease) = &lease {
            if let Some(refused) = &lease.refused_feed {
                problems.push(format!("the lease refuses what it was fed: {refused}"));
            }
            if let Some(problem) = on_disk(&self.run_dir) {
                problems.push(problem);
            }
            for denied in &lease.denied {
                problems.push(format!("the lease may be held up by other work: {denied}"));
            }
        }
        if let Some(instance) = instance {
            let conflicts = instance.observed().borrow().conflicts();
            problems.extend(conflicts.into_iter().map(|conflict| {
                format!("{conflict}, which is none of the cluster's hosts: take it away there, or choose another VIP")
            }));
        }
        let without_carrier = instance
            .map(|instance| instance.observed().borrow().without_carrier.clone())
            .unwrap_or_default();
        let addresses: Vec<AddressSnapshot> = state
            .wanted
            .iter()
            .flat_map(|wanted| &wanted.vips)
            .map(|vip| {
                let target = instance.and_then(|instance| {
                    let mut targets = instance.purpose.targets.iter();
                    targets.find(|target| target.address == vip.address)
                });
                AddressSnapshot {
                    address: vip.address,
                    interface: target.map(|target| target.interface.clone()),
                    carrier: target.is_some_and(|t| !without_carrier.contains(&t.index)),
                    present: present.iter().any(|found| found.address == vip.address),
                }
            })
            .collect();
        for address in addresses.iter().filter(|address| !address.carrier) {
            if let Some(interface) = &address.interface {
                problems.push(format!("{interface}, the VIP's interface, has no carrier"));
            }
        }
        let wanted = state
            .wanted
            .as_ref()
            .and_then(|wanted| wanted.lease.as_ref());
        let situation = Situation {
            fed: state.wanted.is_some(),
            wanted,
            lease: lease.as_ref(),
            unfit: &state.unfit,
        };
        Snapshot {
            digest: state.wanted.as_ref().map(|_| state.digest.clone()),
            reason: situation.reason(),
            names: wanted
                .map(|wanted| wanted.names.clone())
                .unwrap_or_default(),
            fenced: wanted
                .map(|wanted| wanted.fenced.clone())
                .unwrap_or_default(),
            lease,
            fit: instance.is_some_and(Instance::is_fit),
            addresses,
            gate: instance
                .filter(|instance| !instance.purpose.targets.is_empty())
                .map(|instance| instance.gate().status().clone()),
            balancer,
            problems,
        }
    }

    async fn reconcile(&self, state: &mut State) {
        let Some(wanted) = state.wanted.clone() else {
            return;
        };
        if state.stopped {
            return;
        }
        state.problems.clear();
        let found = place(&wanted.vips);
        if let Err(error) = &found {
            // The host still takes part as an acceptor; it is not fit to hold.
            note(&mut state.problems, error);
        }
        state.displaced = found.is_err();
        let purpose = wanted.lease.as_ref().map(|lease| {
            let vips: Vec<IpAddr> = wanted.vips.iter().map(|vip| vip.address).collect();
            let before = state.instance.as_ref().map(|instance| &instance.purpose);
            let unplaced = Purpose {
                cluster: lease.cluster,
                host_id: lease.host_id,
                bind: lease.bind,
                targets: Vec::new(),
            };
            unplaced.placed(found.ok(), &vips, before)
        });
        if state.instance.as_ref().map(|i| &i.purpose) != purpose.as_ref() {
            if let Some(instance) = state.instance.take() {
                self.end(instance).await;
                state.held = false;
            }
            if let Some(purpose) = purpose.clone() {
                match self.start(purpose, &mut state.problems) {
                    Ok(instance) => state.instance = Some(instance),
                    Err(error) => note(&mut state.problems, &error),
                }
            }
        }
        let mut told = false;
        if let (Some(instance), Some(lease)) = (&mut state.instance, &wanted.lease) {
            // The same place by another name, perhaps.
            instance.purpose.targets = purpose.map(|p| p.targets).unwrap_or_default();
            instance.feed(lease);
            let fenced = instance.fence(lease);
            if let Err(error) = &fenced {
                note(&mut state.problems, error);
            }
            told = fenced.is_ok();
        }
        // First what may be counted as dead elsewhere is dead or guarded, then it may reach an API server again.
        if is_guarded(state, wanted.lease.as_ref(), told).await {
            self.balancer.apply(wanted.balancer);
        }
        self.judge_fitness(state);
        let instance = state.instance.as_ref().filter(|_| state.displaced);
        if let Some(instance) = instance.filter(|instance| instance.status().holding) {
            self.reset_clients(instance);
            instance.hand_over(None);
        }
    }

    fn start(&self, purpose: Purpose, problems: &mut Vec<String>) -> Result<Instance, VipError> {
        let addresses = purpose.addresses();
        if !addresses.is_empty() {
            self.leftover.remember(&addresses)?;
        }
        let interfaces: BTreeSet<&str> = purpose
            .targets
            .iter()
            .filter(|target| target.address.is_ipv4())
            .map(|target| target.interface.as_str())
            .collect();
        for interface in interfaces {
            if let Err(error) = quiet_other_interfaces(interface) {
                note(problems, &error);
            }
        }
        Instance::start(purpose, &self.run_dir, self.boot_id)
    }

    /// Hands over what it holds and ends its threads.
    async fn end(&self, instance: Instance) {
        let _parting = instance.is_address_wanted().then(|| self.part(&instance));
        let ended = tokio::task::spawn_blocking(|| instance.shutdown()).await;
        if let Err(error) = ended {
            tracing::error!(%error, "ending the lease failed");
        }
    }

    /// Lets clients go before the VIP does: after the hand-over nothing could be sent to them from it. The lease waits a
    /// moment for that, and until the hand-over is done nobody new is served at the VIP.
    fn part(&self, instance: &Instance) -> Parting {
        let farewell = instance.farewell();
        self.balancer
            .part(instance.purpose.addresses(), move || drop(farewell))
    }

    /// Lets go of clients to whom nothing can be sent any more.
    fn reset_clients(&self, instance: &Instance) {
        for address in instance.purpose.addresses() {
            self.balancer.reset_clients_of(address);
        }
    }

    async fn holds(&self) -> bool {
        let state = self.state.lock().await;
        let instance = state.instance.as_ref();
        instance.is_some_and(|instance| instance.status().holding)
    }

    /// After any news: tells the lease whether this host can serve, lets go of clients that came
    /// by an address that has left, and notices the end of the lease thread.
    fn look(&self, state: &mut State) -> Option<VipError> {
        self.judge_fitness(state);
        let instance = state.instance.as_ref()?;
        let holding = instance.observed().borrow().holding;
        if state.held && !holding {
            self.reset_clients(instance);
        }
        if state.held != holding {
            let news = if holding {
                "the VIP came"
            } else {
                "the VIP left"
            };
            tracing::info!(epoch = instance.status().epoch, news);
        }
        state.held = holding;
        let fence = instance.status().fencing;
        if fence.fired > state.fired {
            tracing::warn!(
                silent_ms = fence.fired_after / NS_PER_MS,
                "no majority of the lease's members answered: this host's controller-manager and scheduler were ended"
            );
        }
        state.fired = fence.fired;
        let failure = instance.status().failure?;
        Some(VipError::LeaseEnded { reason: failure })
    }

    /// Fit to serve: a healthy backend, and carrier on every interface of the VIP.
    fn judge_fitness(&self, state: &mut State) {
        let rest = state.rests_until.saturating_sub(boottime());
        let Some(instance) = &mut state.instance else {
            return;
        };
        let mut unfit = Vec::new();
        if !rest.is_zero() {
            unfit.push("this host was told to stand back for a while".to_owned());
        }
        if !*self.balancer.any_healthy().borrow() {
            unfit.push("no healthy backend".to_owned());
        }
        let targets = &instance.purpose.targets;
        if targets.is_empty() || state.displaced {
            unfit.push("this host has no interface for the VIP".to_owned());
        } else {
            unfit.extend(instance.observed().borrow().hindrances(targets));
        }
        instance.set_fit(&unfit);
        state.unfit = unfit;
    }
}

/// Whether nothing lives that another fence may have armed and none guards now; `told` says that the present one was told of
/// all that it is to guard. Where no lease thread can be had this is brought about at once: nothing but being named when this
/// process began, or when the lease thread ended, tells what was armed.
async fn is_guarded(state: &mut State, wanted: Option<&WantedLease>, told: bool) -> bool {
    let Some(wanted) = wanted else { return true };
    if state.instance.is_none() {
        if !state.disarmed {
            match end_unguarded(&wanted.fenced) {
                Ok(()) => state.disarmed = true,
                Err(error) => note(&mut state.problems, &error),
            }
        }
        return state.disarmed;
    }
    state.disarmed = false;
    let deadline = boottime() + GUARD;
    while !state.is_guarding() {
        if !told {
            return false;
        }
        if boottime() >= deadline {
            let problem = "the lease thread does not take over what it is to guard";
            tracing::warn!(problem, "khavip is hindered");
            state.problems.push(problem.to_owned());
            return false;
        }
        sleep(Duration::from_millis(2)).await;
    }
    true
}

/// Kills these processes, whoever started them.
fn end_unguarded(processes: &BTreeMap<ProcessId, String>) -> Result<(), VipError> {
    for (id, component) in processes {
        let failed = |cause| VipError::Fence {
            component: component.clone(),
            pid: id.pid,
            cause,
        };
        let Some(process) = FencedProcess::open(*id).map_err(failed)? else {
            continue;
        };
        if !process.kill() {
            return Err(failed(io::ErrorKind::PermissionDenied.into()));
        }
        tracing::warn!(
            component,
            pid = id.pid,
            "ended: no lease thread guards it, and others may count on its end"
        );
    }
    Ok(())
}

/// Finds every VIP's place on this host.
pub(crate) fn place(vips: &[Vip]) -> Result<Vec<Target>, VipError> {
    let failed = |cause: io::Error| VipError::Netlink {
        doing: "listing interfaces",
        cause,
    };
    let mut netlink = Netlink::open().map_err(failed)?;
    let links = netlink.links().map_err(failed)?;
    let addresses = netlink.addresses().map_err(failed)?;
    vips.iter()
        .map(|vip| vip.place(&links, &addresses))
        .collect()
}

/// The lease's record is written before every answer, and no disk is that quick.
fn on_disk(run_dir: &Path) -> Option<String> {
    /// `TMPFS_MAGIC` and `RAMFS_MAGIC` of linux/magic.h.
    const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];
    let found = statfs(run_dir).ok()?;
    (!IN_MEMORY.contains(&found.f_type)).then(|| {
        format!(
            "{} is not on tmpfs: the lease waits for a disk, and its record may outlive a restart of the machine",
            run_dir.display()
        )
    })
}

fn note(problems: &mut Vec<String>, error: &VipError) {
    let problem = chain(error);
    tracing::warn!(problem, "khavip is hindered");
    problems.push(problem);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_folder_that_is_not_in_memory_is_a_problem() {
        assert_eq!(on_disk(Path::new("/dev/shm")), None);
        let problem = on_disk(Path::new("/proc")).expect("no tmpfs");
        assert!(problem.starts_with("/proc is not on tmpfs"), "{problem}");
    }
}
