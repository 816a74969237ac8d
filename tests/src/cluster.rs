//! A cluster on lab hosts, from idle agents to a whole control plane.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use khactl_lab::measure::now_us;
use khactl_lab::{Lab, LabHost, LabOptions};
use serde::Deserialize;

use crate::outcome::Outcome;
use crate::running::Running;
use crate::spec::SpecText;
use crate::{LONG, SOON, diagnosis, programs};

/// Where a host has its spec.
pub const SPEC: &str = "/etc/khactl/cluster.yaml";

/// What `khactl token create -o json` prints.
#[derive(Deserialize)]
struct Created {
    token: String,
}

/// A lab and the cluster on it. Dropped, all of it goes; if that is because a test fails, it first tells
/// what state it was in.
#[derive(Debug)]
pub struct Cluster {
    lab: Lab,
    began_us: u64,
}

impl Cluster {
    /// Boots `hosts` hosts; their agents are idle.
    #[track_caller]
    pub fn boot(name: &str, hosts: usize) -> Self {
        let options = LabOptions {
            hosts,
            programs_dir: Some(programs::programs_dir()),
            bundle: Some(programs::bundle()),
            ..LabOptions::default()
        };
        let began_us = now_us();
        let lab = match Lab::up(name, options) {
            Ok(lab) => lab,
            Err(error) => panic!("the lab does not come up: {error}"),
        };
        let cluster = Self { lab, began_us };
        cluster.step(&format!("{hosts} hosts are up, their agents are idle"));
        cluster
    }

    /// A whole cluster: boot, `init` on the first host, `join` on all others at the same moment, a
    /// kubeconfig for the client, and all hosts ready.
    #[track_caller]
    pub fn up(name: &str, hosts: usize) -> Self {
        let cluster = Self::boot(name, hosts);
        cluster.form(&cluster.spec());
        cluster
    }

    /// Makes a cluster with this spec of hosts that are idle, as [`Cluster::up`] does.
    #[track_caller]
    pub fn form(&self, spec: &SpecText) {
        let hosts = self.names();
        self.init_with("cp1", &spec.yaml()).ok();
        self.step("init is done");
        if hosts.len() > 1 {
            let uses = (hosts.len() - 1).to_string();
            let token = self.token("cp1", &["--uses", &uses]);
            self.join_at_once(&hosts[1..], "cp1", &token);
            self.step("all joins are done");
        }
        self.client_kubeconfig("cp1");
        self.await_ready(hosts.len());
    }

    /// Says what the test does now.
    pub fn step(&self, text: &str) {
        let seconds = Duration::from_micros(now_us().saturating_sub(self.began_us)).as_secs();
        eprintln!("[{seconds:4} s] {text}");
    }

    /// The hosts.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// One host, or `client`.
    #[track_caller]
    pub fn host(&self, name: &str) -> &LabHost {
        match self.lab.host(name) {
            Ok(host) => host,
            Err(error) => panic!("{error}"),
        }
    }

    /// The names of the control-plane hosts.
    pub fn names(&self) -> Vec<String> {
        self.lab
            .hosts()
            .iter()
            .map(|host| host.name().to_owned())
            .collect()
    }

    /// A spec that these hosts accept.
    pub fn spec(&self) -> SpecText {
        let bundle = self.lab.bundle_inside().unwrap_or_default();
        SpecText::new(self.lab.name().as_str(), &bundle.to_string_lossy())
    }

    /// Writes a file into a host's `/etc/khactl`.
    #[track_caller]
    pub fn write(&self, host: &str, path: &str, text: &str) {
        let Some(name) = Path::new(path).file_name() else {
            panic!("{path} is no file");
        };
        let file = self.host(host).etc_dir().join(name);
        if let Err(error) = fs::write(&file, text) {
            panic!("cannot write {}: {error}", file.display());
        }
    }

    /// Starts a program in a host.
    #[track_caller]
    pub fn start(&self, host: &str, program: &str, arguments: &[&str]) -> Running {
        let mut command = match self.host(host).exec(program) {
            Ok(command) => command,
            Err(error) => panic!("{program} on {host}: {error}"),
        };
        command.args(arguments);
        let shown = arguments.iter().take(2).copied().collect::<Vec<_>>();
        Running::start(
            &format!("`{program} {}` on {host}", shown.join(" ")),
            command,
        )
    }

    /// Runs a program in a host to its end.
    #[track_caller]
    pub fn run(&self, host: &str, program: &str, arguments: &[&str]) -> Outcome {
        self.start(host, program, arguments).wait(LONG + SOON)
    }

    /// Runs `khactl -o json` in a host to its end.
    #[track_caller]
    pub fn khactl(&self, host: &str, arguments: &[&str]) -> Outcome {
        let mut all = vec!["-o", "json"];
        all.extend(arguments);
        self.run(host, "khactl", &all)
    }

    /// Runs `khactl init` in a host with this spec.
    #[track_caller]
    pub fn init_with(&self, host: &str, spec: &str) -> Outcome {
        self.write(host, SPEC, spec);
        self.khactl(host, &["init", "-f", SPEC, "--timeout", &seconds(LONG)])
    }

    /// Runs `khactl init` in a host with the spec that suits it.
    #[track_caller]
    pub fn init(&self, host: &str) -> Outcome {
        self.init_with(host, &self.spec().yaml())
    }

    /// Makes a token on a member.
    #[track_caller]
    pub fn token(&self, member: &str, arguments: &[&str]) -> String {
        let mut all = vec!["token", "create"];
        all.extend(arguments);
        let printed = self.khactl(member, &all).ok();
        match serde_json::from_str::<Created>(&printed) {
            Ok(created) => created.token,
            Err(error) => panic!("`token create` printed {printed:?}: {error}"),
        }
    }

    /// Runs `khactl join` in a host, with the agent of `member`.
    #[track_caller]
    pub fn join(&self, host: &str, member: &str, token: &str) -> Outcome {
        let endpoint = self.endpoint(member);
        let arguments = [
            "join",
            &endpoint,
            "--token",
            token,
            "--timeout",
            &seconds(LONG),
        ];
        self.khactl(host, &arguments)
    }

    /// `10.77.0.11:9443`
    #[track_caller]
    pub fn endpoint(&self, host: &str) -> String {
        format!("{}:9443", self.host(host).address())
    }

    /// All these hosts join at the same moment; panics unless all succeed.
    #[track_caller]
    pub fn join_at_once(&self, hosts: &[String], member: &str, token: &str) {
        thread::scope(|scope| {
            let joins: Vec<_> = hosts
                .iter()
                .map(|host| scope.spawn(move || self.join(host, member, token)))
                .collect();
            for join in joins {
                match join.join() {
                    Ok(outcome) => drop(outcome.ok()),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        });
    }
}

/// As `khactl` reads times.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{}s", time.as_secs())
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            diagnosis::print(self);
        }
    }
}
