//! Starting a process so that it is known whatever happens, and finding it again.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use khactl_model::component::ComponentName;
use khactl_sys::confine::{Confinement, confine};
use khactl_sys::detach::detach;
use khactl_sys::pidfd::PidFd;
use khactl_sys::process_stat::ProcessStat;
use rustix::fs::{FlockOperation, flock};

use crate::digest::hex;
use crate::error::HostError;
use crate::files::{self, Attributes};
use crate::logs;
use crate::users::SystemUser;

use super::ProcessSpec;
use super::cgroup::{self, Stage};
use super::kin::{self, Kin, Marked, hold_recorded};
use super::program::ProgramFile;
use super::record::{Ending, Record, millis};

/// What programs are looked for in by components that start any.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Among the last that the kernel kills when memory runs out (-1000 would be never): without them
/// the host serves nothing.
const OOM_SCORE_ADJ: &str = "-900";

/// A connection each of a client, a watch or a peer: far more than a control plane has.
const FILES_MAX: u64 = 524_288;

/// By when a program that has let go of the lock of starts shows its marks: the kernel lays its environment out some
/// microseconds later.
const LAID_OUT: Duration = Duration::from_millis(50);

/// Between two looks for it.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// An id of 16 bytes in hexadecimal.
const ID_BYTES_MAX: u64 = 64;

/// Where records and logs are, and whose children are whose.
#[derive(Debug, Clone)]
pub(crate) struct Workshop {
    /// Folder of the records.
    pub(crate) records: PathBuf,
    /// Id of this set of records.
    pub(crate) supervisor: String,
    log_dir: PathBuf,
    boot: String,
    cluster: Arc<Mutex<String>>,
}

/// A process that has just been started.
pub(crate) struct Spawned {
    pub(crate) child: Child,
    pub(crate) fd: PidFd,
    pub(crate) record: Record,
}

/// A start that failed.
pub(crate) struct Failed {
    pub(crate) error: HostError,
    /// What is on record now.
    pub(crate) record: Option<Record>,
}

impl Workshop {
    /// Reads the id of the records, or gives them one.
    pub(crate) fn open(records: PathBuf, log_dir: PathBuf) -> Result<Self, HostError> {
        let boot = khactl_sys::boot::id().map_err(|source| HostError::Kernel {
            what: "the boot id",
            source,
        })?;
        let path = records.join("id");
        let known = files::read_now(&path, ID_BYTES_MAX)?
            .map(|id| String::from_utf8_lossy(&id).trim().to_owned());
        let supervisor = if let Some(id) = known.filter(|id| !id.is_empty()) {
            id
        } else {
            let id = random_id().map_err(HostError::write(&path))?;
            files::write_now(&path, id.as_bytes(), Attributes::mode(0o600))?;
            id
        };
        Ok(Self {
            records,
            supervisor,
            log_dir,
            boot,
            cluster: Arc::default(),
        })
    }

    pub(crate) fn set_cluster(&self, cluster: &str) {
        cluster.clone_into(&mut self.cluster.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn cluster(&self) -> String {
        self.cluster
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Held between the intent and the child's exec. The child inherits the lock and loses it by
    /// exec: who gets it knows that no start is half-way, also of a supervisor that was killed.
    fn lock_starts(&self) -> Result<File, HostError> {
        let path = self.records.join("start.lock");
        let fail = |error| HostError::write(&path)(error);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(fail)?;
        flock(&file, FlockOperation::LockExclusive).map_err(|errno| fail(errno.into()))?;
        Ok(file)
    }

    /// Starts a process. On failure it also gives the record of the failed attempt, if the intent
    /// had been written.
    pub(crate) fn start(
        &self,
        spec: &ProcessSpec,
        user: Option<&SystemUser>,
        before: Option<Record>,
    ) -> Result<Spawned, Box<Failed>> {
        let (lock, mut record) = match self.intend(spec, before.as_ref()) {
            Ok(intent) => intent,
            Err(error) => {
                return Err(Box::new(Failed {
                    error,
                    record: before,
                }));
            }
        };
        match self.spawn(spec, user, &record) {
            Ok((child, fd, start_ticks)) => {
                drop(lock);
                record.pid = fd.pid();
                record.start_ticks = start_ticks;
                record.file = ProgramFile::started(record.pid, &record.program);
                // The child runs: not being able to write its number down is no reason to end it, it is
                // found by its marker too.
                if let Err(error) = record.store(&self.records) {
                    tracing::warn!(component = %spec.name, %error, "the process is not recorded");
                }
                Ok(Spawned { child, fd, record })
            }
            Err((error, why)) => {
                let now = khactl_sys::clock::boottime();
                record.end(&Ending::NotStarted(why), false, now);
                // The error that is reported is the first one.
                let _ = record.store(&self.records);
                Err(Box::new(Failed {
                    error,
                    record: Some(record),
                }))
            }
        }
    }

    /// Takes the lock of starts and writes down what is about to be started.
    fn intend(
        &self,
        spec: &ProcessSpec,
        before: Option<&Record>,
    ) -> Result<(File, Record), HostError> {
        let lock = self.lock_starts()?;
        let record = Record {
            name: spec.name,
            cluster: self.cluster(),
            boot: self.boot.clone(),
            start: random_id().map_err(|source| HostError::Kernel {
                what: "random bytes",
                source,
            })?,
            program: spec.program.clone(),
            file: None,
            digest: spec.digest.clone(),
            started_at_ms: millis(khactl_sys::clock::boottime()),
            pid: 0,
            start_ticks: 0,
            exit: None,
            exit_before: before.and_then(|before| before.exit.clone()),
            // What ended with other arguments says nothing of these.
            quick_exits: before
                .filter(|before| before.digest == spec.digest)
                .map_or(0, |before| before.quick_exits),
        };
        record.store(&self.records)?;
        Ok((lock, record))
    }

    fn spawn(
        &self,
        spec: &ProcessSpec,
        user: Option<&SystemUser>,
        record: &Record,
    ) -> Result<(Child, PidFd, u64), (HostError, String)> {
        let component = spec.name.to_string();
        let fail = |source: io::Error| {
            let why = source.to_string();
            (
                HostError::Spawn {
                    component: component.clone(),
                    program: spec.program.clone(),
                    source,
                },
                why,
            )
        };
        let log_path = logs::path(&self.log_dir, &component);
        let log = logs::open(&log_path, user.map_or(0, |user| user.gid)).map_err(|error| {
            let why = error.to_string();
            (error, why)
        })?;
        let cgroup = self.cgroup(spec.name);
        let mut command = Command::new(&spec.program);
        command
            .args(&spec.args)
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .envs(spec.env.iter().map(|(key, value)| (key, value)))
            .env(kin::COMPONENT, &component)
            .env(kin::CLUSTER, &record.cluster)
            .env(kin::SUPERVISOR, &self.supervisor)
            .env(kin::START, &record.start)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::from(log.try_clone().map_err(fail)?))
            .stderr(Stdio::from(log));
        detach(&mut command, cgroup::prepare(&cgroup, spec.name));
        let confinement = Confinement {
            user: user.map(|user| (user.uid, user.gid)),
            files_max: FILES_MAX,
        };
        confine(&mut command, confinement);
        let mut child = command.spawn().map_err(|error| {
            cgroup::forget(&cgroup);
            fail(error)
        })?;
        // Nobody has waited for the child yet, so the number is still its own.
        let held = PidFd::open(child.id()).and_then(|fd| {
            let stat = ProcessStat::of(child.id()).ok_or(io::ErrorKind::NotFound)?;
            Ok((fd, stat.start_ticks))
        });
        match held {
            Ok((fd, start_ticks)) => {
                // Best effort: it needs CAP_SYS_RESOURCE.
                let _ = fs::write(format!("/proc/{}/oom_score_adj", child.id()), OOM_SCORE_ADJ);
                cgroup::prefer_session(child.id(), spec.name, Stage::Starting);
                Ok((child, fd, start_ticks))
            }
            Err(error) => {
                // What cannot be watched must not run.
                let _ = child.kill();
                let _ = child.wait();
                Err(fail(error))
            }
        }
    }

    /// What belongs to a component of the cluster that was set last.
    pub(crate) fn kin(&self, name: ComponentName) -> Kin {
        Kin::new(name, self.supervisor.clone(), self.cluster())
    }

    /// Kills whatever is in a component's cgroup, also what has left its session and its environment.
    pub(crate) fn kill_cgroup(&self, name: ComponentName) {
        cgroup::kill(&self.cgroup(name));
    }

    /// The component's process `pid` serves: from now on it has its full share of the processors.
    pub(crate) fn serves(&self, name: ComponentName, pid: u32) {
        cgroup::prefer(&self.cgroup(name), name, Stage::Serving);
        cgroup::prefer_session(pid, name, Stage::Serving);
    }

    pub(crate) fn forget_cgroups(&self) {
        for name in ComponentName::ALL {
            cgroup::forget(&self.cgroup(name));
        }
        cgroup::forget_parent();
    }

    fn cgroup(&self, name: ComponentName) -> String {
        // Several supervisors' processes may be on one machine (hosts in network namespaces).
        format!(
            "{name}-{}",
            self.supervisor.get(..8).unwrap_or(&self.supervisor)
        )
    }

    /// Reads a component's record and takes hold of its process if that still runs and is of this cluster.
    pub(crate) fn adopt(
        &self,
        name: ComponentName,
    ) -> Result<(Option<Record>, Option<PidFd>), HostError> {
        let _lock = self.lock_starts()?;
        let kin = self.kin(name);
        let mut record = Record::load(&self.records, name)?;
        if let Some(known) = &mut record
            && known.exit.is_none()
            && known.boot == self.boot
            && known.pid != 0
            && let Some(fd) = hold_recorded(known.pid, known.start_ticks)
        {
            if kin.is_of(&known.cluster) {
                judge_program(known, &fd);
                return Ok((record, Some(fd)));
            }
            refuse(name, fd.pid(), &known.cluster);
            // It is the other cluster's, and stays on the disk until a start of ours.
            record = None;
        }
        let listed = |source| HostError::Kernel {
            what: "the list of processes",
            source,
        };
        // What it started itself has its marks too, but leads no session.
        let leads = |found: &Marked| found.stat.session == found.fd.pid();
        let mut marked = kin.marked().map_err(listed)?;
        // Its supervisor died in the middle of a start, and the program that came of it may show no marks yet.
        let is_open =
            |known: &Record| known.pid == 0 && known.exit.is_none() && known.boot == self.boot;
        if record.as_ref().is_some_and(is_open) {
            let until = khactl_sys::clock::monotonic() + LAID_OUT;
            while !marked.iter().any(leads) && khactl_sys::clock::monotonic() < until {
                std::thread::sleep(LOOK_AGAIN);
                marked = kin.marked().map_err(listed)?;
            }
        }
        if let Some(found) = marked.into_iter().find(leads) {
            let mut known = match record {
                Some(record) if record.start == found.start => record,
                _ => self.unrecorded(name, &found),
            };
            known.pid = found.fd.pid();
            known.start_ticks = found.stat.start_ticks;
            known.exit = None;
            judge_program(&mut known, &found.fd);
            known.store(&self.records)?;
            return Ok((Some(known), Some(found.fd)));
        }
        for found in kin.foreign().map_err(listed)? {
            if leads(&found) {
                refuse(name, found.fd.pid(), &found.cluster);
            }
        }
        if let Some(record) = &mut record {
            self.note_end(record)?;
        }
        Ok((record, None))
    }

    /// A record for a process whose own is lost. Its digest is nobody's, so the next `ensure` replaces
    /// it.
    fn unrecorded(&self, name: ComponentName, found: &Marked) -> Record {
        Record {
            name,
            cluster: found.cluster.clone(),
            boot: self.boot.clone(),
            start: found.start.clone(),
            program: ProgramFile::name(found.fd.pid()),
            file: None,
            digest: String::new(),
            started_at_ms: millis(khactl_sys::clock::boottime()),
            pid: found.fd.pid(),
            start_ticks: found.stat.start_ticks,
            exit: None,
            exit_before: None,
            quick_exits: 0,
        }
    }

    /// Notes that a recorded process was not found.
    fn note_end(&self, record: &mut Record) -> Result<(), HostError> {
        let now = khactl_sys::clock::boottime();
        if record.boot != self.boot {
            // Times of another boot mean nothing now, and a restart of the host is no fault of its.
            record.boot.clone_from(&self.boot);
            record.started_at_ms = 0;
            record.end(&Ending::HostRestarted, true, now);
        } else if record.exit.is_none() {
            record.end(&Ending::Unknown, false, now);
        } else {
            return Ok(());
        }
        record.store(&self.records)
    }
}

/// Names a process that another cluster started with these records. It goes on: whose it is may be wrong in the records
/// as well as in the process.
fn refuse(name: ComponentName, pid: u32, cluster: &str) {
    tracing::warn!(
        component = %name,
        pid,
        of_cluster = cluster,
        "a component of another cluster runs here: it is neither adopted nor ended; end it, if nobody needs it"
    );
}

/// What runs another program than it was started from is nobody's wish: without its digest the next `ensure` ends it
/// in order and starts what is wanted.
fn judge_program(record: &mut Record, fd: &PidFd) {
    let pid = fd.pid();
    let Some(started) = record.file else {
        record.file = ProgramFile::started(pid, &record.program);
        return;
    };
    let differs = ProgramFile::of(pid).is_some_and(|runs| runs != started);
    // Of one that has ended the number may be another's by now.
    if differs && fd.has_ended().is_ok_and(|ended| !ended) {
        tracing::warn!(
            component = %record.name,
            pid,
            started_from = %record.program.display(),
            runs = %ProgramFile::name(pid).display(),
            "it runs another program than it was started from: it is replaced"
        );
        record.digest.clear();
    }
}

fn random_id() -> io::Result<String> {
    Ok(hex(&khactl_sys::entropy::bytes::<16>()?))
}
