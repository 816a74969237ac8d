//! Supervised processes that outlive their supervisor.
//!
//! ```text
//!            ensure                     spawned                 ended
//!  absent ───────────▶ intent recorded ─────────▶ running ──────────────▶ ended ──▶ ensure …
//!                            │ killed here           │ supervisor gone      ▲
//!                            ▼                       ▼                      │
//!                      found by its marker ───▶ adopted (pid, start time) ──┘
//! ```
//!
//! The intent is on the disk before the child exists, the child carries a marker in its
//! environment, and no start can be half-way when processes are adopted: whatever the moment at
//! which the supervisor is killed, the next one finds the child. A process is signalled through a
//! pidfd alone, so a number that was given to another process harms nobody.
//!
//! A process of another cluster is named, and neither adopted nor signalled. One that runs another program than it was
//! started from is adopted without a digest, so that it is replaced. When to start again is not decided here.

pub(crate) mod cgroup;
pub(crate) mod kin;
mod program;
mod record;
mod slot;
mod spawn;

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use khactl_model::component::ComponentName;
use khactl_model::facts::ProcessFact;
use khactl_sys::pidfd::PidFd;
use rustix::process::Signal;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::error::HostError;
use crate::files::{self, Attributes};
use crate::offload::offload;
use crate::users;

use record::Ending;
use slot::{Slot, Stop};
use spawn::Workshop;

/// How long a process that is replaced may take to end by itself.
const REPLACE_GRACE: Duration = Duration::from_secs(15);

/// How long the kernel may take to end a process that got SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// A process as it is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSpec {
    /// Which component.
    pub name: ComponentName,
    /// The program, verified right before.
    pub program: PathBuf,
    /// Digest of everything that, if it changes, asks for another process.
    pub digest: String,
    /// Arguments without the program's name.
    pub args: Vec<String>,
    /// Environment; nothing else is passed on but `PATH` and the markers.
    pub env: Vec<(String, String)>,
    /// System user, made if missing; `None`: whoever supervises, which is root.
    pub user: Option<String>,
}

/// What `ensure` found or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// It was not running and has been started.
    Started,
    /// It runs as it should.
    AlreadyRunning,
    /// It ran with another digest; that one was ended and this one started.
    Replaced,
}

/// The supervised processes of one host. Clones are the same. Dropping the last one stops watching
/// and leaves every process running.
#[derive(Clone)]
pub struct Processes(Arc<Inner>);

struct Inner {
    workshop: Workshop,
    slots: BTreeMap<ComponentName, Slot>,
    changes: watch::Sender<u64>,
    watchers: Mutex<JoinSet<()>>,
    /// Nothing is started any more.
    closed: AtomicBool,
}

impl fmt::Debug for Processes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Processes")
            .field(&self.0.workshop.records)
            .finish()
    }
}

impl Processes {
    /// Opens the records below `state_dir`; components will log into `log_dir`. Call
    /// [`Self::adopt_all`] before anything else.
    pub async fn open(state_dir: &Path, log_dir: &Path) -> Result<Self, HostError> {
        let records = state_dir.join("processes");
        files::ensure_dir(&records, Attributes::mode(0o700)).await?;
        files::ensure_dir(log_dir, Attributes::mode(0o755)).await?;
        let log_dir = log_dir.to_owned();
        let workshop = offload(move || Workshop::open(records, log_dir)).await?;
        let slots = ComponentName::ALL
            .into_iter()
            .map(|name| (name, Slot::default()))
            .collect();
        Ok(Self(Arc::new(Inner {
            workshop,
            slots,
            changes: watch::Sender::new(0),
            watchers: Mutex::default(),
            closed: AtomicBool::new(false),
        })))
    }

    /// Takes hold of every process that an earlier supervisor with the same records started for `cluster` (empty: for any)
    /// and that still runs; says which. Later starts are marked with that cluster.
    pub async fn adopt_all(&self, cluster: &str) -> Result<Vec<ComponentName>, HostError> {
        self.0.workshop.set_cluster(cluster);
        let mut adopted = Vec::new();
        for (&name, slot) in &self.0.slots {
            let _turn = slot.turn.lock().await;
            if slot.state().live.is_some() {
                continue;
            }
            let workshop = self.0.workshop.clone();
            let (record, fd) = offload(move || workshop.adopt(name)).await?;
            slot.state().record = record;
            if let Some(fd) = fd {
                tracing::info!(component = %name, pid = fd.pid(), "adopted");
                self.watch(name, fd, None)?;
                adopted.push(name);
            }
        }
        self.0.changes.send_modify(|count| *count += 1);
        Ok(adopted)
    }

    /// Makes sure that this process runs; replaces one that was started with another digest.
    pub async fn ensure(&self, spec: ProcessSpec) -> Result<Ensured, HostError> {
        let name = spec.name;
        let slot = self.slot(name);
        let _turn = slot.turn.lock().await;
        if self.is_closed() {
            return Err(HostError::GoingDown {
                component: name.to_string(),
            });
        }
        let (live, same) = {
            let state = slot.state();
            let same = state
                .record
                .as_ref()
                .is_some_and(|record| record.digest == spec.digest);
            (state.live.is_some(), same)
        };
        if live && same {
            return Ok(Ensured::AlreadyRunning);
        }
        // Also when none runs: what the last one left behind must not be in the way.
        let grace = if live { REPLACE_GRACE } else { Duration::ZERO };
        self.end(name, grace, Stop::Asked).await?;
        let user = match &spec.user {
            Some(user) => Some(users::ensure(user).await?),
            None => None,
        };
        let before = {
            let mut state = slot.state();
            state.starting_ms = Some(record::millis(khactl_sys::clock::boottime()));
            state.serving = None;
            state.record.clone()
        };
        let workshop = self.0.workshop.clone();
        let started = offload(move || workshop.start(&spec, user.as_ref(), before)).await;
        let spawned = match started {
            Ok(spawned) => spawned,
            Err(failed) => {
                {
                    let mut state = slot.state();
                    state.record = failed.record;
                    state.starting_ms = None;
                }
                self.0.changes.send_modify(|count| *count += 1);
                return Err(failed.error);
            }
        };
        tracing::info!(component = %name, pid = spawned.fd.pid(), "started");
        slot.state().record = Some(spawned.record);
        self.watch(name, spawned.fd, Some(spawned.child))?;
        // Not before: one that is not watched is neither known to run nor to have ended.
        slot.state().starting_ms = None;
        self.0.changes.send_modify(|count| *count += 1);
        Ok(if live {
            Ensured::Replaced
        } else {
            Ensured::Started
        })
    }

    /// From now on nothing is started: whatever plans it, this host goes down. What a start has begun before is known by
    /// the end of the next [`Self::stop`].
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
    }

    /// Whether nothing is started any more.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::SeqCst)
    }

    /// Ends a process in order: SIGTERM, the grace, then SIGKILL to it and all that it started.
    /// Nothing to end is no error.
    pub async fn stop(&self, name: ComponentName, grace: Duration) -> Result<(), HostError> {
        let _turn = self.slot(name).turn.lock().await;
        self.end(name, grace, Stop::Asked).await
    }

    /// Ends the process `pid` of a component in the same way because it hangs, for the reason `why`. Its end counts
    /// as if it had ended by itself. If another one runs by now, or none, there is nothing to do.
    pub async fn end_hung(
        &self,
        name: ComponentName,
        pid: u32,
        grace: Duration,
        why: &str,
    ) -> Result<(), HostError> {
        let slot = self.slot(name);
        let _turn = slot.turn.lock().await;
        let hangs = slot.state().live.as_ref().is_some_and(|fd| fd.pid() == pid);
        if !hangs {
            return Ok(());
        }
        self.end(name, grace, Stop::Hung(why.to_owned())).await
    }

    /// The component's process `pid` serves: until this is said for the first time, it has the share of one that starts.
    pub async fn serves(&self, name: ComponentName, pid: u32) {
        // Whoever is about to end or to replace it will not be waited for.
        let Ok(_turn) = self.slot(name).turn.try_lock() else {
            return;
        };
        {
            let mut state = self.slot(name).state();
            let lives = state.live.as_ref().is_some_and(|fd| fd.pid() == pid);
            if !lives || state.serving.replace(pid) == Some(pid) {
                return;
            }
        }
        let workshop = self.0.workshop.clone();
        offload(move || workshop.serves(name, pid)).await;
    }

    /// Removes the components' cgroups, where no process is in them any more.
    pub async fn forget_cgroups(&self) {
        let workshop = self.0.workshop.clone();
        offload(move || workshop.forget_cgroups()).await;
    }

    /// What is known of every component that was ever started.
    pub fn facts(&self) -> BTreeMap<ComponentName, ProcessFact> {
        let now = khactl_sys::clock::boottime();
        self.0
            .slots
            .iter()
            .filter_map(|(name, slot)| {
                let state = slot.state();
                Some((
                    *name,
                    state.record.as_ref()?.fact(state.live.is_some(), now),
                ))
            })
            .collect()
    }

    /// Since when a component's next process is being started, if it is: from before it can exist until [`Self::facts`] tell
    /// of it. To be asked before them, so that none is missed.
    pub fn starting(&self, name: ComponentName) -> Option<u64> {
        self.slot(name).state().starting_ms
    }

    /// The id of a component's process and a descriptor that is readable from the moment of its end: sooner than
    /// [`Self::facts`] tell of it, which write it down first. `None` while none runs.
    pub fn descriptor(&self, name: ComponentName) -> Option<(u32, OwnedFd)> {
        let live = self.slot(name).state().live.clone()?;
        Some((live.pid(), live.descriptor().ok()?))
    }

    /// Changes whenever a process has started, ended or been adopted.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    fn slot(&self, name: ComponentName) -> &Slot {
        // Every name has its slot from the beginning.
        &self.0.slots[&name]
    }

    /// To be called in the slot's turn.
    async fn end(&self, name: ComponentName, grace: Duration, stop: Stop) -> Result<(), HostError> {
        let live = {
            let mut state = self.slot(name).state();
            state.stop = Some(stop);
            state.live.clone()
        };
        let outcome = self.end_marked(name, live, grace).await;
        self.slot(name).state().stop = None;
        outcome
    }

    async fn end_marked(
        &self,
        name: ComponentName,
        live: Option<Arc<PidFd>>,
        grace: Duration,
    ) -> Result<(), HostError> {
        let kin = self.0.workshop.kin(name);
        let pid = live.as_ref().map_or(0, |fd| fd.pid());
        let failed = move |source| HostError::Process {
            component: name.to_string(),
            pid,
            source,
        };
        let mut known = Vec::new();
        if let Some(leader) = live.clone() {
            tracing::info!(component = %name, pid, grace_ms = grace.as_millis(), "stopping");
            let kin = kin.clone();
            known = offload(move || kin.signal(Some(&leader), Signal::TERM))
                .await
                .map_err(failed)?;
            self.ended_within(name, grace).await;
        }
        let workshop = self.0.workshop.clone();
        let survivor = offload(move || {
            // Another cluster's would be in the same cgroup.
            if kin.foreign()?.is_empty() {
                workshop.kill_cgroup(name);
            }
            kin.kill(live.as_deref(), known, KILL_DEADLINE)
        })
        .await
        .map_err(failed)?;
        let component = name.to_string();
        match survivor {
            Some(pid) => Err(HostError::StillRunning {
                component,
                pid,
                waited: KILL_DEADLINE,
            }),
            None if self.ended_within(name, KILL_DEADLINE).await => Ok(()),
            None => Err(HostError::StillRunning {
                component,
                pid,
                waited: KILL_DEADLINE,
            }),
        }
    }

    /// Waits until the end of a component's process is recorded, `timeout` at the most.
    async fn ended_within(&self, name: ComponentName, timeout: Duration) -> bool {
        let mut changes = self.changes();
        let ended = async {
            while self.slot(name).state().live.is_some() {
                if changes.changed().await.is_err() {
                    break;
                }
            }
        };
        tokio::time::timeout(timeout, ended).await.is_ok()
    }

    fn watch(&self, name: ComponentName, fd: PidFd, child: Option<Child>) -> Result<(), HostError> {
        let pid = fd.pid();
        let readable = fd.descriptor().and_then(khactl_sys::readable::readable);
        let readable = readable.map_err(|source| HostError::Process {
            component: name.to_string(),
            pid,
            source,
        })?;
        self.slot(name).state().live = Some(Arc::new(fd));
        let mut watchers = self
            .0
            .watchers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Those that have ended are let go of.
        while watchers.try_join_next().is_some() {}
        watchers.spawn(Inner::watch(Arc::downgrade(&self.0), name, readable, child));
        Ok(())
    }
}

impl Inner {
    /// Waits for the end of a process and records it. It holds the supervisor weakly, so that it
    /// does not keep alive what owns it.
    async fn watch(
        inner: Weak<Self>,
        name: ComponentName,
        readable: AsyncFd<OwnedFd>,
        child: Option<Child>,
    ) {
        // An error would be the runtime's end, in which this task ends as well.
        let _ = readable.readable().await;
        let ending = offload(move || match child {
            // The pidfd is readable once the child can be waited for: this takes no time.
            Some(mut child) => child.wait().map_or(Ending::Unknown, Ending::from),
            None => Ending::Unknown,
        })
        .await;
        if let Some(inner) = inner.upgrade() {
            inner.ended(name, ending).await;
        }
    }

    async fn ended(&self, name: ComponentName, ending: Ending) {
        let now = khactl_sys::clock::boottime();
        let Some(slot) = self.slots.get(&name) else {
            return;
        };
        let (record, stop) = {
            let state = slot.state();
            (state.record.clone(), state.stop.clone())
        };
        let asked_for = matches!(stop, Some(Stop::Asked));
        let ending = match stop {
            Some(Stop::Hung(why)) => Ending::Hung(why, Box::new(ending)),
            _ => ending,
        };
        if let Some(mut record) = record {
            record.end(&ending, asked_for, now);
            tracing::info!(component = %name, pid = record.pid, reason = %ending, asked_for, "ended");
            // On the disk first: until the end is visible nobody starts the next one, whose record
            // this one would overwrite.
            let (workshop, stored) = (self.workshop.clone(), record.clone());
            if let Err(error) = offload(move || stored.store(&workshop.records)).await {
                tracing::warn!(component = %name, %error, "the end of the process is not recorded");
            }
            slot.state().record = Some(record);
        }
        slot.state().live = None;
        self.changes.send_modify(|count| *count += 1);
    }
}
