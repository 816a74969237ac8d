//! Brings this process to what it was last fed, and keeps it there: the balancer, the lease with
//! its address, and the word between them that says whether this host can serve. What it was fed
//! lives in memory alone; a new process waits for khad.

mod guard;
mod snapshot;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use khactl_balancer::{Balancer, Parting};
use khactl_proto::v1;
use khactl_sys::clock::boottime;
use prost::Message;
use tokio::sync::{Mutex, Notify};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::address::{Leftover, Netlink, Target, Vip, clear_neighbours, quiet_other_interfaces};
use crate::error::{VipError, chain};
use crate::feed::Wanted;
use crate::gate::Gate;
use crate::instance::{Instance, Purpose};

use guard::is_guarded;
pub use snapshot::{AddressSnapshot, Snapshot};

/// How long a hand-over that was asked for is waited for; the lease itself needs milliseconds.
const HAND_OVER: Duration = Duration::from_secs(3);

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
            if due
                && let Some(instance) = &state.instance
                && !instance.displaced
            {
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
        let displaced = found.is_err();
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
            instance.displaced = displaced;
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
        if let Some(instance) = &state.instance
            && instance.displaced
            && instance.status().holding
        {
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
        if targets.is_empty() || instance.displaced {
            unfit.push("this host has no interface for the VIP".to_owned());
        } else {
            unfit.extend(instance.observed().borrow().hindrances(targets));
        }
        instance.set_fit(&unfit);
        state.unfit = unfit;
    }
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

fn note(problems: &mut Vec<String>, error: &VipError) {
    let problem = chain(error);
    tracing::warn!(problem, "khavip is hindered");
    problems.push(problem);
}
