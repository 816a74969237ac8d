//! Whether the VIP stays where it is while the machine is busy and disks stall.
//!
//! Four loops that do nothing but run, on a machine whose cores the whole cluster shares; on every host a
//! program that writes and waits for its disk without a pause; and every half minute one host's file system
//! stands still for three seconds, the holder's in its turn too.

use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use khactl_lab::measure::{Sample, SampleKind, micros, now_us, tally};
use khactl_lab::oracle::Oracle;
use khactl_tests::{Cluster, LONG, Probe, SOON, SmallDisk, until};

use crate::contender::Contender;
use crate::khactl::whole;

const HOSTS: usize = 3;
const BUSY_LOOPS: usize = 4;

/// Room for etcd, Raft and what is written here; the file that holds it is sparse.
const DISK_MIB: u64 = 2048;

const STALL_EVERY: Duration = Duration::from_secs(30);

/// One file system stands still; the shell that stops it also lets it go on, whatever becomes of this
/// program: nobody can end who waits for it.
const STALL: &str = "setsid sh -c 'fsfreeze -f /var/lib/khactl; sleep 3; fsfreeze -u /var/lib/khactl' \
                     </dev/null >/dev/null 2>&1 &";

/// Writes and waits for the disk, for ever.
const WRITE: &str = "setsid sh -c 'while :; do dd if=/dev/zero of=/var/lib/khactl/written bs=64k count=16 \
                     conv=fsync; done' </dev/null >/dev/null 2>&1 &";

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) contender: Contender,
    pub(crate) minutes: u64,
    /// How often a host became the holder.
    pub(crate) changes: u64,
    /// The longest time without an answer, in milliseconds.
    pub(crate) outage_ms: f64,
    pub(crate) answered: usize,
    pub(crate) lost: usize,
    pub(crate) two_holders_ms: f64,
}

impl std::fmt::Display for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {} min under load, {} changes of holder; longest time without an answer {:.0} ms, \
             {} of {} tries lost, two holders for {:.1} ms",
            self.contender.name(),
            self.minutes,
            self.changes,
            self.outage_ms,
            self.lost,
            self.answered + self.lost,
            self.two_holders_ms
        )
    }
}

/// Makes a cluster with this profile and loads it for so many minutes.
pub(crate) fn measure(contender: Contender, minutes: u64) -> anyhow::Result<Loaded> {
    let cluster = Cluster::boot("benchload", HOSTS);
    let names = cluster.names();
    let _disks: Vec<_> = names
        .iter()
        .map(|host| SmallDisk::put_under(&cluster, host, DISK_MIB))
        .collect();
    cluster.form(&cluster.spec().profile(contender.word()));
    until("any host could hold the VIP", LONG, || whole(&cluster));
    let oracle = Oracle::start(cluster.lab(), &[IpAddr::V4(contender.vip())])?;
    let mut probe = Probe::start(cluster.lab().client(), contender.target())?;
    let asked_us = now_us();
    until("the client is served", SOON, || {
        (probe.successes_in_a_row(asked_us) > 0).then_some(())
    });

    let before = Acquired::so_far(&cluster)?;
    let began_us = now_us();
    let end_us = began_us + micros(Duration::from_secs(minutes * 60));
    let busy = Busy::start()?;
    for host in &names {
        cluster.run(host, "sh", &["-c", WRITE]).ok();
    }
    for host in names.iter().cycle() {
        let left = Duration::from_micros(end_us.saturating_sub(now_us()));
        if left.is_zero() {
            break;
        }
        if left > STALL_EVERY {
            cluster.step(&format!("the disk of {host} stalls"));
            cluster.run(host, "sh", &["-c", STALL]).ok();
        }
        thread::sleep(left.min(STALL_EVERY));
        probe.check()?;
    }
    let ended_us = now_us();
    drop(busy);
    let changes = Acquired::so_far(&cluster)?.since(&before)?;

    let at = Duration::from_micros;
    let two_holders = oracle.answers()?.two_holders(at(began_us), at(ended_us));
    let samples: Vec<Sample> = probe.samples();
    let counted = tally(&samples, SampleKind::Connect, began_us, ended_us);
    Ok(Loaded {
        contender,
        minutes,
        changes,
        outage_ms: at(counted.gap_us).as_secs_f64() * 1000.0,
        answered: counted.ok,
        lost: counted.failed,
        two_holders_ms: two_holders.as_secs_f64() * 1000.0,
    })
}

/// How often the processes of khavip that run now have become the holder.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Acquired {
    /// A process that is another one now has begun to count anew.
    pids: Vec<u32>,
    times: u64,
}

impl Acquired {
    fn so_far(cluster: &Cluster) -> anyhow::Result<Self> {
        let mut acquired = Self {
            pids: Vec::new(),
            times: 0,
        };
        for host in cluster.names() {
            let status = until(&format!("khavip of {host} answers"), SOON, || {
                cluster.vip_status(&host)
            });
            let lease = status.lease.context("khavip tells nothing of its lease")?;
            acquired.pids.push(status.pid);
            acquired.times += lease.acquired;
        }
        Ok(acquired)
    }

    fn since(&self, earlier: &Self) -> anyhow::Result<u64> {
        ensure!(
            self.pids == earlier.pids,
            "a khavip has ended and was started again"
        );
        Ok(self.times.saturating_sub(earlier.times))
    }
}

/// Loops that only run. Dropped, they end.
struct Busy {
    loops: Vec<Child>,
}

impl Busy {
    fn start() -> anyhow::Result<Self> {
        let mut busy = Self { loops: Vec::new() };
        for _ in 0..BUSY_LOOPS {
            let child = Command::new("setpriv")
                .args(["--pdeathsig", "KILL", "sh", "-c", "while :; do :; done"])
                .stdin(Stdio::null())
                .spawn()
                .context("cannot start a busy loop")?;
            busy.loops.push(child);
        }
        Ok(busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.loops {
            // One that has ended already says so, and that is all right.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
