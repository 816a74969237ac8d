//! A writer through the VIP from beside the hosts, which keeps a record of what was acknowledged.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use khactl_tests::{Hosts, LONG, Running, SOON, programs_dir, until};
use serde::Deserialize;

/// So many writes must have gone through before the test goes on.
const WRITES: usize = 10;

/// What `khactl lab verify -o json` prints.
#[derive(Debug, Deserialize)]
struct Verdict {
    acknowledged: usize,
    lost: Vec<String>,
}

/// `khactl lab write`. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Writer {
    child: Child,
    record: PathBuf,
    kubeconfig: PathBuf,
}

impl Writer {
    /// Starts it and waits until it writes.
    #[track_caller]
    pub(crate) fn start(hosts: &Hosts) -> Self {
        let kubeconfig = hosts.scratch().join("admin.conf");
        let text = hosts.sh("cp1", "khactl kubeconfig").ok();
        fs::write(&kubeconfig, text).expect("a kubeconfig for the writer");
        let record = hosts.scratch().join("written.jsonl");
        let output = File::create(&record).expect("a record of the writes");
        let child = khactl(hosts)
            .args(["lab", "write", "--kubeconfig"])
            .arg(&kubeconfig)
            .stdin(Stdio::piped())
            .stdout(output)
            .spawn()
            .expect("the writer starts");
        let writer = Self {
            child,
            record,
            kubeconfig,
        };
        until("writes go through the VIP", SOON, || {
            let record = fs::read_to_string(&writer.record).ok()?;
            (record.lines().count() > WRITES).then_some(())
        });
        writer
    }

    /// Ends it; says how many writes were acknowledged, and how many of those are not there.
    #[track_caller]
    pub(crate) fn judge(mut self, hosts: &Hosts) -> (usize, usize) {
        drop(self.child.stdin.take());
        until("the writer ends", SOON, || {
            self.child.try_wait().ok().flatten()
        });
        let mut command = khactl(hosts);
        command
            .args(["-o", "json", "lab", "verify", "--kubeconfig"])
            .arg(&self.kubeconfig)
            .arg(&self.record);
        let outcome = Running::start("khactl lab verify", command).wait(LONG);
        let Ok(verdict) = serde_json::from_str::<Verdict>(&outcome.stdout) else {
            panic!("no verdict: {outcome}");
        };
        (verdict.acknowledged, verdict.lost.len())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // One that has ended already says so, and that is all right.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn khactl(hosts: &Hosts) -> Command {
    hosts.beside(programs_dir().join("khactl"))
}
